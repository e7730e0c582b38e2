//! A line that moves while nothing else is to be seen: something is read or planned.

use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::progress::Screen;
use super::style::{cut, duration};
use super::terminal::Terminal;

/// What is over sooner is not worth a word.
const SHORT: Duration = Duration::from_millis(400);
/// How long a frame of the spinner is seen.
const FRAME: Duration = Duration::from_millis(120);
const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// Says on a terminal what is waited for, and for how long by now, until it is dropped. Elsewhere it says nothing: before a run
/// begins only results are printed there. Nothing else may be printed meanwhile but [aside](Self::aside), and nothing asked.
pub(crate) struct Reading(Option<ProgressBar>);

impl Reading {
    /// From now on: `reading 42 resources of dev`.
    pub(crate) fn begin(terminal: Terminal, what: String) -> Self {
        if !terminal.live {
            return Self(None);
        }
        let screen = Box::new(Screen::new(Term::buffered_stdout()));
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::term_like_with_hz(screen, 12));
        let room = terminal.width.saturating_sub(1);
        let shown = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // It is a string that is written to.
            out.write_str(&cut(&line(&what, state.elapsed()), room))
                .unwrap_or_default();
        };
        let style =
            ProgressStyle::with_template("{line}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        bar.set_style(style.with_key("line", shown));
        bar.enable_steady_tick(FRAME);
        Self(Some(bar))
    }

    /// Prints something in between.
    pub(crate) fn aside(&self, print: impl FnOnce()) {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// `  ⠋ reading 42 resources of dev…  7 s`
fn line(what: &str, elapsed: Duration) -> String {
    if elapsed < SHORT {
        return String::new();
    }
    let at = elapsed.as_millis() / FRAME.as_millis() % FRAMES.len() as u128;
    let frame = usize::try_from(at)
        .ok()
        .and_then(|at| FRAMES.get(at))
        .unwrap_or(&' ');
    format!("  {frame} {what}…  {}", duration(elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_a_while_is_said() {
        let said = |millis| line("reading 2 resources of dev", Duration::from_millis(millis));
        assert_eq!(said(300), "");
        assert_eq!(said(7_200), "  ⠋ reading 2 resources of dev…  7 s");
    }
}
