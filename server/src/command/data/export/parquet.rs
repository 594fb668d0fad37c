//! Parquet: the rows with types that pandas, Spark, polars and DuckDB all read as they are. Times are timestamps in
//! microseconds (UTC), each with a column `…_ns` of the remaining nanoseconds, because Spark rejects nanoseconds;
//! 64-bit ids are strings, because pandas turns an integer column with gaps into floats. Numbers are unsigned, texts
//! are strings with a dictionary, everything is compressed with zstd. A second thread packs row groups while this one
//! reads the journal.

use super::Format;
use super::rows::{ALWAYS_THERE, COLUMNS, Cell, Kind, visit_cells};
use crate::command::output::Output;
use anyhow::Context;
use crossbeam::channel::{self, Receiver, Sender};
use fakemon_history::archive::{Archive, Block, Recorded};
use fakemon_model::ids::Position;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::Result as ParquetResult;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Rows per group; readers skip whole groups by their statistics.
const GROUP_ROWS: usize = 128 << 10;
/// Rows whose texts are written together.
const BATCH_ROWS: usize = 1 << 10;
/// Longest text to deduplicate, in bytes: longer ones hardly ever repeat.
const SHORT_BYTES: usize = 64;

type RowGroup<'w> = SerializedRowGroupWriter<'w, Output>;

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

    /// Hands a full group to the packing thread, and takes an empty one.
    fn hand_over(&mut self) -> anyhow::Result<()> {
        let next = self.emptied.recv().ok();
        let handed_over = next.and_then(|next| self.full.send(std::mem::replace(&mut self.filling, next)).ok());
        match handed_over {
            Some(()) => Ok(()),
            None => self.packed().map(drop), // the thread has ended: it reports why
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
        self.full = channel::bounded(0).0; // closes the channel, so that the thread ends
        self.packed()
    }
}

/// Packs groups until the channel is closed.
fn pack(
    mut writer: SerializedFileWriter<Output>,
    full: &Receiver<Group>,
    empty: &Sender<Group>,
) -> ParquetResult<Output> {
    for mut group in full {
        group.write(&mut writer)?;
        let _ = empty.send(group); // the receiver is gone at the end
    }
    writer.into_inner()
}

/// A column of the file: its name, its type, and whether each row has a value.
struct Field {
    name: String,
    holds: Holds,
    is_always_there: bool,
}

/// Type of a column of the file.
#[derive(Clone, Copy)]
enum Holds {
    Numbers,
    Micros,
    /// The nanoseconds below a microsecond.
    Nanos,
    Degrees,
    Flags,
    Texts,
}

/// The columns of the file: a time has two.
fn fields() -> impl Iterator<Item = Field> {
    COLUMNS.iter().enumerate().flat_map(|(column, (name, kind))| {
        let is_always_there = ALWAYS_THERE.iter().any(|always| *always as usize == column);
        let field = move |name: String, holds| Field { name, holds, is_always_there };
        let (own, below) = match kind {
            Kind::Number => (Holds::Numbers, None),
            Kind::Time => (Holds::Micros, Some(Holds::Nanos)),
            Kind::Degrees => (Holds::Degrees, None),
            Kind::Flag => (Holds::Flags, None),
            Kind::Id | Kind::Text => (Holds::Texts, None),
        };
        let below = below.map(|holds| field(format!("{name}_ns"), holds));
        std::iter::once(field((*name).to_owned(), own)).chain(below)
    })
}

fn schema() -> ParquetResult<Type> {
    let field = |Field { name, holds, is_always_there }: Field| {
        let (physical, logical) = match holds {
            Holds::Numbers => (Physical::INT64, Some(LogicalType::integer(64, false))),
            Holds::Micros => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            Holds::Nanos => (Physical::INT32, Some(LogicalType::integer(16, true))),
            Holds::Degrees => (Physical::DOUBLE, None),
            Holds::Flags => (Physical::BOOLEAN, None),
            Holds::Texts => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let repetition = if is_always_there { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        let field = Type::primitive_type_builder(&name, physical).with_logical_type(logical);
        field.with_repetition(repetition).build().map(Arc::new)
    };
    Type::group_type_builder("event").with_fields(fields().map(field).collect::<ParquetResult<_>>()?).build()
}

fn properties() -> ParquetResult<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(parquet::basic::ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("fakemon".into());
    for Field { name, holds, .. } in fields() {
        let path = ColumnPath::from(name);
        properties = match holds {
            // Neighbours differ little and seldom repeat, so deltas are smaller than a dictionary.
            Holds::Numbers | Holds::Micros | Holds::Nanos => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            Holds::Degrees => properties.set_column_dictionary_enabled(path, false),
            Holds::Flags | Holds::Texts => properties,
        };
    }
    Ok(properties.build())
}

/// Rows, by column.
struct Group {
    columns: Vec<Column>,
    rows: usize,
}

/// Values, and for each row whether it has one; trailing rows without values are left out.
struct Column {
    present: Vec<i16>,
    is_always_there: bool,
    values: Values,
}

enum Values {
    Numbers(Vec<i64>),
    /// Microseconds, and the remaining nanoseconds.
    Times(Vec<i64>, Vec<i32>),
    Degrees(Vec<f64>),
    Flags(Vec<bool>),
    Texts(Texts),
}

impl Default for Group {
    fn default() -> Group {
        let column = |(column, (_, kind)): (usize, &(&str, Kind))| {
            let values = match kind {
                Kind::Number => Values::Numbers(Vec::new()),
                Kind::Time => Values::Times(Vec::new(), Vec::new()),
                Kind::Degrees => Values::Degrees(Vec::new()),
                Kind::Flag => Values::Flags(Vec::new()),
                Kind::Id | Kind::Text => Values::Texts(Texts::default()),
            };
            let is_always_there = ALWAYS_THERE.iter().any(|always| *always as usize == column);
            Column { present: Vec::with_capacity(GROUP_ROWS), is_always_there, values }
        };
        Group { columns: COLUMNS.iter().enumerate().map(column).collect(), rows: 0 }
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
            column.write(self.rows, &mut group)?;
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
            (Values::Times(micros, nanos), Cell::Time(time)) => {
                micros.push((time.0 / 1_000).cast_signed());
                nanos.push(i32::try_from(time.0 % 1_000).expect("below 1,000"));
            }
            (Values::Texts(texts), Cell::Id(id)) => texts.push_id(id),
            (Values::Degrees(values), Cell::Degrees(degrees)) => values.push(degrees),
            (Values::Flags(values), Cell::Flag(flag)) => values.push(flag),
            (Values::Texts(texts), Cell::Text(text)) => texts.push(text),
            _ => unreachable!("rows and columns come from one list"),
        }
    }

    fn write(&mut self, rows: usize, group: &mut RowGroup<'_>) -> ParquetResult<()> {
        self.present.resize(rows, 0);
        let present = Some(&self.present[..]).filter(|_| !self.is_always_there);
        match &mut self.values {
            Values::Numbers(values) => write_values::<Int64Type>(group, values, present)?,
            Values::Times(micros, nanos) => {
                write_values::<Int64Type>(group, micros, present)?;
                write_values::<Int32Type>(group, nanos, present)?;
            }
            Values::Degrees(values) => write_values::<DoubleType>(group, values, present)?,
            Values::Flags(values) => write_values::<BoolType>(group, values, present)?,
            Values::Texts(texts) => {
                let mut writer = group.next_column()?.expect(SCHEMA);
                texts.write(&self.present, !self.is_always_there, writer.typed::<ByteArrayType>())?;
                writer.close()?;
            }
        }
        self.present.clear();
        Ok(())
    }
}

const SCHEMA: &str = "the schema and the columns come from one list";

/// Writes the next column, and empties its values.
fn write_values<T: DataType>(
    group: &mut RowGroup<'_>,
    values: &mut Vec<T::T>,
    present: Option<&[i16]>,
) -> ParquetResult<()> {
    let mut writer = group.next_column()?.expect(SCHEMA);
    writer.typed::<T>().write_batch(values, present, None)?;
    values.clear();
    writer.close()
}

/// Texts, most of which repeat: each is stored once, so that only one thread touches its reference count.
#[derive(Default)]
struct Texts {
    values: Vec<u32>,
    distinct: Vec<ByteArray>,
    /// Index of each short text.
    known: HashMap<Box<str>, u32>,
    /// Text of the last id.
    digits: String,
}

impl Texts {
    #[inline]
    fn push_id(&mut self, id: u64) {
        self.digits.clear();
        write!(self.digits, "{id}").expect("text grows as long as there is memory");
        let digits = std::mem::take(&mut self.digits);
        self.push(&digits);
        self.digits = digits;
    }

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

    fn write(
        &mut self,
        present: &[i16],
        has_gaps: bool,
        writer: &mut ColumnWriterImpl<'_, ByteArrayType>,
    ) -> ParquetResult<()> {
        let (mut values, mut batch) = (&self.values[..], Vec::with_capacity(BATCH_ROWS));
        for present in present.chunks(BATCH_ROWS) {
            let there = present.iter().filter(|present| **present == 1).count();
            let (now, later) = values.split_at(there);
            batch.extend(now.iter().map(|value| self.distinct[*value as usize].clone()));
            writer.write_batch(&batch, Some(present).filter(|_| has_gaps), None)?;
            batch.clear();
            values = later;
        }
        self.values.clear();
        self.distinct.clear();
        self.known.clear();
        Ok(())
    }
}
