//! Answers of a person, kept as flags, and the command that does the same without questions. Pure.

use crate::shell::quote_sh;

/// Answers in the order of the questions.
#[derive(Default)]
pub(super) struct Answers {
    /// Words of a command line: a name, a flag, or a flag and its value.
    words: Vec<Vec<String>>,
    /// Flags of the given command line that no longer hold.
    dropped: Vec<&'static str>,
}

impl Answers {
    /// Keeps an answer. A flag replaces the same one of the given command line.
    pub(super) fn keep(&mut self, words: &[&str]) {
        self.words.push(words.iter().map(ToString::to_string).collect());
    }

    /// Keeps an answer that matters only if other questions were asked, too.
    pub(super) fn keep_further(&mut self, words: &[&str]) {
        if !self.words.is_empty() {
            self.keep(words);
        }
    }

    /// Drops a flag and its value, whether they were given or answered.
    pub(super) fn drop_flag(&mut self, flag: &'static str) {
        self.words
            .retain(|answer| answer.first().is_none_or(|first| first != flag));
        self.dropped.push(flag);
    }

    /// Replaces a name that was answered. If it was given instead, no command can be shown: the word may also be a flag's value.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        match self.words.first_mut().map(Vec::as_mut_slice) {
            Some([name]) if name == from => to.clone_into(name),
            _ => *self = Self::default(),
        }
    }

    /// The command that does the same as `given`, the words after the program's name, and these answers; `None` if nothing was
    /// asked. No word is a token, so the line may be shown.
    pub(super) fn command(&self, given: Vec<String>, reads_token: bool) -> Option<String> {
        if self.words.is_empty() && self.dropped.is_empty() {
            return None;
        }
        let is_command = |word: &String| word == SOURCE_COMMAND || word.starts_with(&format!("{SOURCE_COMMAND}="));
        let at = given.iter().position(is_command).unwrap_or(given.len());
        // All words after this flag belong to the source's program.
        let program = given.get(at..).unwrap_or_default().to_vec();
        let mut words = given;
        words.truncate(at);
        let answered = self.words.iter().filter_map(|answer| match answer.as_slice() {
            [flag, _value] => Some(flag.as_str()),
            _ => None,
        });
        for flag in answered.chain(self.dropped.iter().copied()) {
            words = without_flag(words, flag);
        }
        words.extend(self.words.iter().flatten().cloned());
        words.extend(reads_token.then(|| "--token-stdin".to_owned()));
        words.extend(program);
        let words: Vec<_> = words.iter().map(|word| quote_sh(word)).collect();
        Some(format!("regauthctl {}", words.join(" ")))
    }
}

/// Words without a flag and its value.
fn without_flag(words: Vec<String>, flag: &str) -> Vec<String> {
    let with_value = format!("{flag}=");
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == flag {
            words.next();
        } else if !word.starts_with(&with_value) {
            kept.push(word);
        }
    }
    kept
}

const SOURCE_COMMAND: &str = "--source-command";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answers: &Answers, given: &str, expected: &str) {
        let given = given.split(' ').map(str::to_owned).collect();
        let command = answers.command(given, !expected.contains(SOURCE_COMMAND));
        assert_eq!(command.as_deref(), Some(expected));
    }

    #[test]
    fn answers_come_before_the_sources_program() {
        let mut answers = Answers::default();
        assert_eq!(answers.command(vec!["add-registry".to_owned()], true), None);
        answers.keep(&["corp"]);
        answers.keep(&["--index", "sparse+https://corp.example/i/"]);
        check(
            &answers,
            "add-registry --source-command mint --index x",
            "regauthctl add-registry corp --index sparse+https://corp.example/i/ --source-command mint --index x",
        );
        check(
            &answers,
            "add-registry --writes allow",
            "regauthctl add-registry --writes allow corp --index sparse+https://corp.example/i/ --token-stdin",
        );
    }

    #[test]
    fn an_answer_replaces_what_was_given() {
        let mut answers = Answers::default();
        answers.keep(&["gitlab"]);
        answers.keep(&["--preset", "gitlab"]);
        answers.keep(&["--index", "sparse+https://corp.example/i/"]);
        answers.drop_flag("--preset");
        answers.rename("gitlab", "corp");
        let command = "regauthctl add-registry corp --index sparse+https://corp.example/i/ --token-stdin";
        check(&answers, "add-registry --index https://corp.example/i/", command);
        check(&answers, "add-registry --preset gitlab --index=x", command);
        answers.keep_further(&["--yes"]);
        check(
            &answers,
            "add-registry --writes allow",
            "regauthctl add-registry --writes allow corp --index sparse+https://corp.example/i/ --yes --token-stdin",
        );
        answers.rename("given", "corp");
        assert_eq!(answers.command(vec!["add-registry".to_owned()], true), None);
    }
}
