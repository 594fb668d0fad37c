//! Parquet: the rows with types. Numbers are unsigned, times are timestamps in nanoseconds (UTC), texts are strings with
//! a dictionary, everything is compressed with zstd. A second thread packs row groups while this one reads the journal.

use super::Format;
use super::output::Output;
use super::rows::{COLUMNS, Cell, Kind, visit_cells};
use anyhow::Context;
use crossbeam::channel::{self, Receiver, Sender};
use fakemon_engine::archive::{Archive, Block, Recorded};
use fakemon_engine::ids::Position;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::writer::{ColumnWriter, ColumnWriterImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::Result as ParquetResult;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, Type};
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Rows that are packed together; readers skip whole groups by their statistics.
const GROUP_ROWS: usize = 128 << 10;
/// Rows of which texts are written at once.
const BATCH_ROWS: usize = 1 << 10;
/// Longer texts hardly ever come again.
const SHORT_BYTES: usize = 64;

/// An export as Parquet.
pub(super) struct Parquet<'a> {
    archive: &'a Archive,
    filling: Group,
    full: Sender<Group>,
    emptied: Receiver<Group>,
    packer: Option<JoinHandle<ParquetResult<Output>>>,
}

impl<'a> Parquet<'a> {
    pub(super) fn begin(archive: &'a Archive, output: Output) -> anyhow::Result<Parquet<'a>> {
        let writer = SerializedFileWriter::new(output, Arc::new(schema()?), Arc::new(properties()?))?;
        let (full, packed) = channel::bounded(1);
        let (empty, emptied) = channel::bounded(2);
        empty.send(Group::default()).expect("there is room for two");
        let packer = std::thread::Builder::new().name("parquet".into()).spawn(move || pack(writer, &packed, &empty));
        let packer = packer.context("the thread that packs")?;
        Ok(Parquet { archive, filling: Group::default(), full, emptied, packer: Some(packer) })
    }

    /// Hands a group over, and takes an empty one.
    fn hand_over(&mut self) -> anyhow::Result<()> {
        let next = self.emptied.recv().ok();
        let handed_over = next.and_then(|next| self.full.send(std::mem::replace(&mut self.filling, next)).ok());
        match handed_over {
            Some(()) => Ok(()),
            None => self.packed().map(drop), // nobody takes it: the thread tells why
        }
    }

    fn packed(&mut self) -> anyhow::Result<Output> {
        let packer = self.packer.take().context("it could not be written")?;
        let packed = packer.join().map_err(|_| anyhow::anyhow!("the thread that packs ended by itself"))?;
        Ok(packed?)
    }
}

impl Format for Parquet<'_> {
    fn block(&mut self, _: &Block<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    fn event(&mut self, recorded: &Recorded) -> anyhow::Result<()> {
        self.filling.push(recorded, self.archive);
        if self.filling.rows == GROUP_ROWS { self.hand_over() } else { Ok(()) }
    }

    fn finish(mut self, _: Position) -> anyhow::Result<Output> {
        if self.filling.rows > 0 {
            self.hand_over()?;
        }
        self.full = channel::bounded(0).0; // the thread sees that there is no more
        self.packed()
    }
}

/// Packs groups until there are no more.
fn pack(
    mut writer: SerializedFileWriter<Output>,
    full: &Receiver<Group>,
    empty: &Sender<Group>,
) -> ParquetResult<Output> {
    for mut group in full {
        group.write(&mut writer)?;
        let _ = empty.send(group); // nobody wants it at the end
    }
    writer.into_inner()
}

fn schema() -> ParquetResult<Type> {
    let field = |(name, kind): &(&str, Kind)| {
        let (physical, logical) = match kind {
            Kind::Number => (Physical::INT64, Some(LogicalType::integer(64, false))),
            Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::NANOS))),
            Kind::Degrees => (Physical::DOUBLE, None),
            Kind::Flag => (Physical::BOOLEAN, None),
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
        };
        let field = Type::primitive_type_builder(name, physical).with_logical_type(logical);
        field.with_repetition(Repetition::OPTIONAL).build().map(Arc::new)
    };
    let fields = COLUMNS.iter().map(field).collect::<ParquetResult<_>>()?;
    Type::group_type_builder("event").with_fields(fields).build()
}

fn properties() -> ParquetResult<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(parquet::basic::ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("fakemon".into());
    for (name, kind) in COLUMNS {
        let path = ColumnPath::from(*name);
        properties = match kind {
            // Neighbours are near each other, and seldom the same.
            Kind::Number | Kind::Time => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            Kind::Degrees => properties.set_column_dictionary_enabled(path, false),
            Kind::Flag | Kind::Text | Kind::Json => properties,
        };
    }
    Ok(properties.build())
}

/// Rows, by column.
struct Group {
    columns: Vec<Column>,
    rows: usize,
}

/// Values that are there, and for each row whether there is one; of the last rows, in which there is none, nothing.
struct Column {
    present: Vec<i16>,
    values: Values,
}

enum Values {
    Numbers(Vec<i64>),
    Degrees(Vec<f64>),
    Flags(Vec<bool>),
    Texts(Texts),
}

impl Default for Group {
    fn default() -> Group {
        let column = |(_, kind): &(&str, Kind)| {
            let values = match kind {
                Kind::Number | Kind::Time => Values::Numbers(Vec::new()),
                Kind::Degrees => Values::Degrees(Vec::new()),
                Kind::Flag => Values::Flags(Vec::new()),
                Kind::Text | Kind::Json => Values::Texts(Texts::default()),
            };
            Column { present: Vec::with_capacity(GROUP_ROWS), values }
        };
        Group { columns: COLUMNS.iter().map(column).collect(), rows: 0 }
    }
}

impl Group {
    #[inline]
    fn push(&mut self, recorded: &Recorded, archive: &Archive) {
        let Group { columns, rows } = self;
        visit_cells(recorded, archive, &mut |column, cell| columns[column as usize].push(*rows, cell));
        *rows += 1;
    }

    fn write(&mut self, writer: &mut SerializedFileWriter<Output>) -> ParquetResult<()> {
        let mut group = writer.next_row_group()?;
        for column in &mut self.columns {
            let mut writer = group.next_column()?.expect("the schema has these columns");
            column.write(self.rows, writer.untyped())?;
            writer.close()?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

impl Column {
    #[inline]
    fn push(&mut self, row: usize, cell: Cell<'_>) {
        if self.present.len() < row {
            self.present.resize(row, 0);
        }
        self.present.push(1);
        match (&mut self.values, cell) {
            (Values::Numbers(values), Cell::Number(number)) => values.push(number.cast_signed()),
            (Values::Numbers(values), Cell::Time(time)) => values.push(time.0.cast_signed()),
            (Values::Degrees(values), Cell::Degrees(degrees)) => values.push(degrees),
            (Values::Flags(values), Cell::Flag(flag)) => values.push(flag),
            (Values::Texts(texts), Cell::Text(text)) => texts.push(text),
            _ => unreachable!("rows and columns come from one list"),
        }
    }

    fn write(&mut self, rows: usize, writer: &mut ColumnWriter<'_>) -> ParquetResult<()> {
        self.present.resize(rows, 0);
        let present = &self.present[..];
        match (&mut self.values, writer) {
            (Values::Numbers(values), ColumnWriter::Int64ColumnWriter(writer)) => {
                writer.write_batch(values, Some(present), None)?;
                values.clear();
            }
            (Values::Degrees(values), ColumnWriter::DoubleColumnWriter(writer)) => {
                writer.write_batch(values, Some(present), None)?;
                values.clear();
            }
            (Values::Flags(values), ColumnWriter::BoolColumnWriter(writer)) => {
                writer.write_batch(values, Some(present), None)?;
                values.clear();
            }
            (Values::Texts(texts), ColumnWriter::ByteArrayColumnWriter(writer)) => texts.write(present, writer)?,
            _ => unreachable!("the schema and the columns come from one list"),
        }
        self.present.clear();
        Ok(())
    }
}

/// Texts, most of which come again and again: each is kept once, and so only one thread counts who shares it.
#[derive(Default)]
struct Texts {
    values: Vec<u32>,
    distinct: Vec<ByteArray>,
    /// Of short ones, where they are.
    known: HashMap<Box<str>, u32>,
}

impl Texts {
    #[inline]
    fn push(&mut self, text: &str) {
        let last = self.values.last().filter(|last| self.distinct[**last as usize].data() == text.as_bytes());
        let value = last.copied().or_else(|| self.known.get(text).copied()).unwrap_or_else(|| self.learn(text));
        self.values.push(value);
    }

    #[cold]
    fn learn(&mut self, text: &str) -> u32 {
        let value = u32::try_from(self.distinct.len()).expect("a group has fewer rows");
        self.distinct.push(ByteArray::from(text));
        if text.len() <= SHORT_BYTES {
            self.known.insert(text.into(), value);
        }
        value
    }

    fn write(&mut self, present: &[i16], writer: &mut ColumnWriterImpl<'_, ByteArrayType>) -> ParquetResult<()> {
        let (mut values, mut batch) = (&self.values[..], Vec::with_capacity(BATCH_ROWS));
        for present in present.chunks(BATCH_ROWS) {
            let there = present.iter().filter(|present| **present == 1).count();
            let (now, later) = values.split_at(there);
            batch.extend(now.iter().map(|value| self.distinct[*value as usize].clone()));
            writer.write_batch(&batch, Some(present), None)?;
            batch.clear();
            values = later;
        }
        self.values.clear();
        self.distinct.clear();
        self.known.clear();
        Ok(())
    }
}
