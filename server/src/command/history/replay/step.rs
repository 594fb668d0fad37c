//! `fakemon replay --step`: the journal in a terminal, event by event. A timeline to play, pause and jump in; a map
//! of the wild fakémon around the event; the event, and the state of its fakémon and player at that position.
//!
//! - `page`: events around a position, read in pages
//! - `wild`: the wild fakémon, forwards and backwards
//! - `screen`: drawing
//!
//! Keys change a [`Stepper`]; the screen is a function of it. Nothing here needs a terminal but [`run`].

mod page;
mod screen;
mod wild;

use super::{ReplayArgs, SPEED_RANGE, bar, watch};
use crate::command::interrupt::{Half, begin};
use anyhow::{Context, ensure};
use fakemon_history::archive::{Archive, Recorded};
use fakemon_history::state_at::Moment;
use fakemon_journal::index::Subject;
use fakemon_model::event::{CaptureAttempt, DecidedAttempt, Event};
use fakemon_model::ids::{FakemonId, PlayerId, Position, Timestamp};
use page::Page;
use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyEventKind, KeyModifiers};
use std::io::{IsTerminal, stdin, stdout};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use wild::Wild;

/// Interval of frames while it plays.
const FRAME: Duration = Duration::from_millis(50);
/// Longest wait for a key while it does not play.
const IDLE: Duration = Duration::from_secs(1);
/// Events per frame, at most, so that keys are handled soon, however fast it plays.
const FRAME_EVENTS_MAX: usize = 5_000;
/// Events that one key moves forwards or backwards.
const LEAP: u64 = 100;
/// Metres from the middle of the map to its edge.
const RADIUS_M: f64 = 500.0;
const RADIUS_M_RANGE: std::ops::RangeInclusive<f64> = 10.0..=20_000.0;

/// Opens the screen between two positions.
pub(super) fn run(archive: &Archive, args: &ReplayArgs, from: Position, to: Position) -> anyhow::Result<()> {
    ensure!(
        stdin().is_terminal() && stdout().is_terminal(),
        "--step needs a terminal; without one, --from and --to print the events"
    );
    ensure!(from < to, "there is no event in this range");
    let bar = bar();
    let mut moment = Moment::beginning(archive)?;
    let advanced = moment.advance(archive, from, &mut watch(&bar, from));
    bar.finish();
    advanced?;
    let radius_m =
        args.area.map_or(RADIUS_M, |area| area.radius_m.clamp(*RADIUS_M_RANGE.start(), *RADIUS_M_RANGE.end()));
    let mut stepper = Stepper::new(archive, Wild::of(&moment), from, to)?.at_pace(args.speed);
    stepper.radius_m = radius_m;
    stepper.centre = args.area.map(|area| area.centre);
    let _begun = begin(Half::Screen);
    let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
    let ended = interact(&mut terminal, &mut stepper);
    ratatui::restore();
    ended
}

fn interact(terminal: &mut ratatui::DefaultTerminal, stepper: &mut Stepper<'_>) -> anyhow::Result<()> {
    loop {
        terminal.draw(|frame| screen::draw(frame, stepper))?;
        if event::poll(if stepper.plays() { FRAME } else { IDLE })?
            && let Input::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if interrupt || stepper.press(key.code)?.is_break() {
                return Ok(());
            }
        }
        stepper.play_on()?;
    }
}

/// The position in the journal, and the state of playing.
struct Stepper<'a> {
    archive: &'a Archive,
    from: Position,
    /// The first position after the range.
    to: Position,
    page: Page,
    /// The state before the event that is shown.
    wild: Wild,
    at: Position,
    speed: f64,
    /// When playing began, and the journal's time then.
    playing: Option<(Instant, Timestamp)>,
    /// The middle of the map, if it does not follow the events.
    centre: Option<fakemon_model::place::Place>,
    radius_m: f64,
    note: Option<&'static str>,
}

impl<'a> Stepper<'a> {
    fn new(archive: &'a Archive, wild: Wild, from: Position, to: Position) -> anyhow::Result<Stepper<'a>> {
        let page = Page::around(archive, from)?;
        Ok(Stepper {
            archive,
            from,
            to,
            page,
            wild,
            at: from,
            speed: 1.0,
            playing: None,
            centre: None,
            radius_m: RADIUS_M,
            note: None,
        })
    }

    /// Sets the pace, as a factor of the original; 0: as fast as possible.
    fn at_pace(self, speed: Option<f64>) -> Stepper<'a> {
        let speed = match speed {
            Some(0.0) => *SPEED_RANGE.end(),
            speed => speed.unwrap_or(1.0),
        };
        Stepper { speed, ..self }
    }

    fn plays(&self) -> bool {
        self.playing.is_some()
    }

    /// The event that is shown.
    fn event(&self) -> Option<&Recorded> {
        self.page.get(self.at)
    }

    /// The fakémon that the event is about.
    fn fakemon(&self) -> Option<FakemonId> {
        self.event()?.event.fakemon_id()
    }

    /// The player that the event is about.
    fn player(&self) -> Option<PlayerId> {
        match self.event()?.event {
            Event::Attempt(DecidedAttempt { attempt: CaptureAttempt { player, .. }, .. })
            | Event::PlayerNamed { player, .. } => Some(player),
            _ => None,
        }
    }

    fn press(&mut self, key: KeyCode) -> anyhow::Result<ControlFlow<()>> {
        self.note = None;
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Ok(ControlFlow::Break(())),
            KeyCode::Char(' ') => self.playing = if self.plays() { None } else { Some(self.now()) },
            KeyCode::Right | KeyCode::Char('l') => self.go(self.at.0.saturating_add(1))?,
            KeyCode::Left | KeyCode::Char('h') => self.go(self.at.0.saturating_sub(1))?,
            KeyCode::PageDown => self.go(self.at.0.saturating_add(LEAP))?,
            KeyCode::PageUp => self.go(self.at.0.saturating_sub(LEAP))?,
            KeyCode::Home => self.go(self.from.0)?,
            KeyCode::End => self.go(self.to.0 - 1)?,
            KeyCode::Char('f') => self.jump(self.fakemon().map(Subject::Fakemon), true)?,
            KeyCode::Char('F') => self.jump(self.fakemon().map(Subject::Fakemon), false)?,
            KeyCode::Char('p') => self.jump(self.player().map(Subject::Player), true)?,
            KeyCode::Char('P') => self.jump(self.player().map(Subject::Player), false)?,
            KeyCode::Char('+' | '=') => self.pace(2.0),
            KeyCode::Char('-') => self.pace(0.5),
            KeyCode::Char('z') => self.zoom(0.5),
            KeyCode::Char('Z') => self.zoom(2.0),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn now(&self) -> (Instant, Timestamp) {
        (Instant::now(), self.event().map_or(Timestamp(0), moment_of))
    }

    fn pace(&mut self, factor: f64) {
        self.speed = (self.speed * factor).clamp(*SPEED_RANGE.start(), *SPEED_RANGE.end());
        self.playing = self.playing.map(|_| self.now());
    }

    fn zoom(&mut self, factor: f64) {
        self.radius_m = (self.radius_m * factor).clamp(*RADIUS_M_RANGE.start(), *RADIUS_M_RANGE.end());
    }

    /// Moves to a position, clamped to the range.
    fn go(&mut self, position: u64) -> anyhow::Result<()> {
        let position = Position(position.clamp(self.from.0, self.to.0 - 1));
        while self.at < position {
            self.forward()?;
        }
        while self.at > position {
            self.back()?;
        }
        self.page.load(self.archive, self.at)?;
        self.playing = self.playing.map(|_| self.now());
        Ok(())
    }

    fn forward(&mut self) -> anyhow::Result<()> {
        self.page.load(self.archive, self.at)?;
        if let Some(recorded) = self.page.get(self.at) {
            self.wild.happen(&recorded.event);
        }
        self.at.0 += 1;
        Ok(())
    }

    fn back(&mut self) -> anyhow::Result<()> {
        self.at.0 -= 1;
        self.page.load(self.archive, self.at)?;
        match self.page.get(self.at) {
            Some(recorded) => self.wild.undo(self.archive, recorded),
            None => Ok(()),
        }
    }

    /// Moves to the next or previous event of a fakémon or a player.
    fn jump(&mut self, subject: Option<Subject>, next: bool) -> anyhow::Result<()> {
        let Some(subject) = subject else {
            self.note = Some("this event is about nobody like that");
            return Ok(());
        };
        let (from, to) = if next { (Position(self.at.0 + 1), self.to) } else { (self.from, self.at) };
        let mut found = None;
        self.archive.positions(subject, from, to, &mut |position| {
            found = Some(position);
            if next { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        match found {
            Some(position) => self.go(position.0),
            None => {
                self.note = Some(if next { "there is no later one" } else { "there is no earlier one" });
                Ok(())
            }
        }
    }

    /// Plays the events that are due by now.
    fn play_on(&mut self) -> anyhow::Result<()> {
        let Some((began, first)) = self.playing else { return Ok(()) };
        let passed = began.elapsed().as_secs_f64() * self.speed;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that has passed")]
        let until = first.plus_ns((passed * 1e9) as u64);
        for _ in 0..FRAME_EVENTS_MAX {
            self.page.load(self.archive, Position(self.at.0 + 1))?;
            let next = self.page.get(Position(self.at.0 + 1)).map(moment_of);
            if self.at.0 + 1 >= self.to.0 {
                self.playing = None;
                self.note = Some("this is the end of the range");
                break;
            }
            if next.is_none_or(|next| next > until) {
                break;
            }
            self.forward()?;
        }
        self.page.load(self.archive, self.at)?;
        Ok(())
    }
}

/// When an event happened; for an attempt when it was decided, because thousands are written in one group.
fn moment_of(recorded: &Recorded) -> Timestamp {
    match &recorded.event {
        Event::Attempt(attempt) => attempt.decided_at(),
        _ => recorded.committed_at,
    }
}

#[cfg(test)]
mod tests;
