//! Words and colours that are the same everywhere.

use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::apply::Did;
use crate::plan::Action;

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    pub(crate) fn new(on: bool) -> Self {
        Self { on }
    }

    pub(crate) fn on(self) -> bool {
        self.on
    }

    fn with(self, style: Style, text: &str) -> String {
        if self.on {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    fn color(self, color: AnsiColor, text: &str) -> String {
        self.with(Style::new().fg_color(Some(color.into())), text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.color(AnsiColor::Green, text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.color(AnsiColor::Yellow, text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.color(AnsiColor::Red, text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.color(AnsiColor::Cyan, text)
    }

    pub(crate) fn error(self) -> String {
        self.with(Style::new().bold().fg_color(Some(AnsiColor::Red.into())), "error")
    }

    pub(crate) fn warning(self) -> String {
        self.with(
            Style::new().bold().fg_color(Some(AnsiColor::Yellow.into())),
            "warning",
        )
    }

    /// The mark of an action, in its colour.
    pub(crate) fn mark(self, action: Action) -> String {
        let mark = mark(action);
        match mark {
            "+" => self.green(mark),
            "~" | "±" => self.yellow(mark),
            "-" => self.red(mark),
            ">" => self.cyan(mark),
            other => self.dim(other),
        }
    }
}

/// `+ ~ ± - > .` for create, update, replace, delete, read or import, and what touches only the record.
pub(crate) fn mark(action: Action) -> &'static str {
    match action {
        Action::Create => "+",
        Action::Update | Action::Connect => "~",
        Action::Replace | Action::Refill | Action::Decide | Action::Vacate => "±",
        Action::Delete => "-",
        Action::Read | Action::Import | Action::Adopt => ">",
        Action::Forget | Action::Drop | Action::Record | Action::Nothing => "·",
    }
}

/// What was done, in the past tense.
pub(crate) fn past(did: Did) -> &'static str {
    match did {
        Did::Created => "created",
        Did::Updated => "updated",
        Did::Replaced => "replaced",
        Did::Deleted => "deleted",
        Did::Vacated => "deleted, to be made again",
        Did::Read => "looked up",
        Did::Imported => "imported",
        Did::Adopted => "adopted",
        Did::Forgotten => "left in place and forgotten",
        Did::Dropped => "dropped",
        Did::Recorded => "recorded",
        Did::Connected => "connected",
        Did::Nothing => "unchanged",
    }
}

/// A duration as a person says it: `40 ms`, `0.3 s`, `8 s`, `6:02`, `1:04:00 h`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if time < Duration::from_millis(95) {
        format!("{} ms", time.as_millis())
    } else if time < Duration::from_millis(950) {
        format!("{:.1} s", time.as_secs_f64())
    } else if seconds < 60 {
        format!("{} s", time.as_secs_f64().round())
    } else if seconds < 3600 {
        format!("{}:{:02} min", seconds / 60, seconds % 60)
    } else {
        format!(
            "{}:{:02}:{:02} h",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

/// A moment as `2026-01-31 10:00:00Z`.
pub(crate) fn moment(at: epid_provider::Timestamp) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "?".to_owned(), |at| at.to_string().replacen('T', " ", 1))
}

/// `1 step`, `2 steps`.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{n} {many}")
    }
}

/// How wide text is on a terminal, counting characters; epid prints no wide ones of its own.
pub(crate) fn width(text: &str) -> usize {
    text.chars().count()
}

/// `text` cut to `limit` columns, with `…` for what is left out.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// `text` on lines of so many columns at most, each behind `indent`, with a trailing newline; a longer word is not parted.
pub(crate) fn wrapped(text: &str, indent: &str, columns: usize) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && width(indent) + width(&line) + 1 + width(word) > columns {
            out.push_str(&format!("{indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    out + &format!("{indent}{line}\n")
}

/// `text` without control characters, so that nothing that comes from outside moves the cursor.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_speech() {
        let say = |millis| duration(Duration::from_millis(millis));
        assert_eq!(say(40), "40 ms");
        assert_eq!(say(300), "0.3 s");
        assert_eq!(say(8_400), "8 s");
        assert_eq!(say(362_000), "6:02 min");
        assert_eq!(say(3_840_000), "1:04:00 h");
    }

    #[test]
    fn a_sentence_is_parted_between_its_words() {
        assert_eq!(wrapped("a bc def", "  ", 6), "  a bc\n  def\n");
        assert_eq!(wrapped("abcdefgh i", " ", 4), " abcdefgh\n i\n");
        assert_eq!(wrapped("a b", "", 9), "a b\n");
    }

    #[test]
    fn text_from_outside_cannot_move_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
