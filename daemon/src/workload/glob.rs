//! Patterns for claims: `corp/*`, `refs/heads/**`. Pure.

/// Pattern for the text of a claim.
///
/// `*` stands for any characters but `/` and `:`, which separate the parts of a claim, `**` for any characters at all, and
/// `?` for one character but those two. Everything else stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Segment,
    /// `**`
    Anything,
}

impl Glob {
    /// Parses a pattern. Every text is one.
    pub(crate) fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        for letter in text.chars() {
            match (letter, parts.last()) {
                ('*', Some(Part::Segment)) => {
                    parts.pop();
                    parts.push(Part::Anything);
                }
                ('*', Some(Part::Anything)) => {}
                ('*', _) => parts.push(Part::Segment),
                ('?', _) => parts.push(Part::One),
                (letter, _) => parts.push(Part::Literal(letter)),
            }
        }
        Self(parts)
    }

    /// True for a pattern without a letter of its own.
    pub(crate) fn is_everything(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|part| matches!(part, Part::Segment | Part::Anything))
    }

    /// Text that every match begins with.
    pub(crate) fn literal_prefix(&self) -> String {
        let letters = self.0.iter().map_while(|part| match part {
            Part::Literal(letter) => Some(*letter),
            Part::One | Part::Segment | Part::Anything => None,
        });
        letters.collect()
    }

    /// True if the pattern stands for the whole text. The time is bounded by the product of both lengths.
    pub(crate) fn matches(&self, text: &str) -> bool {
        // Parts that may come next, one flag a part, and one for the end.
        let mut reached: Vec<bool> = std::iter::once(true).chain(self.0.iter().map(|_| false)).collect();
        self.skip_runs(&mut reached);
        for letter in text.chars() {
            let mut next = vec![false; reached.len()];
            for (index, part) in self.0.iter().enumerate() {
                if reached.get(index) == Some(&true)
                    && let Some(step) = part.step(letter)
                    && let Some(flag) = next.get_mut(index + step)
                {
                    *flag = true;
                }
            }
            self.skip_runs(&mut next);
            reached = next;
        }
        reached.last() == Some(&true)
    }

    /// A run may be empty.
    fn skip_runs(&self, reached: &mut [bool]) {
        for (index, part) in self.0.iter().enumerate() {
            let is_run = matches!(part, Part::Segment | Part::Anything);
            if is_run
                && reached.get(index) == Some(&true)
                && let Some(after) = reached.get_mut(index + 1)
            {
                *after = true;
            }
        }
    }
}

impl Part {
    /// Number of parts that this letter leads on: a run stays where it is. `None` if the letter does not fit.
    fn step(self, letter: char) -> Option<usize> {
        let is_separator = matches!(letter, '/' | ':');
        match self {
            Self::Literal(literal) => (literal == letter).then_some(1),
            Self::One => (!is_separator).then_some(1),
            Self::Segment => (!is_separator).then_some(0),
            Self::Anything => Some(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_ends_at_a_separator_and_two_do_not() {
        for (pattern, text, fits) in [
            ("corp/plans", "corp/plans", true),
            ("corp/plans", "corp/plans-evil", false),
            ("corp/plans", "evil/corp/plans", false),
            ("corp/*", "corp/plans", true),
            ("corp/*", "corp/", true),
            ("corp/*", "corp", false),
            ("corp/*", "corp-evil/plans", false),
            ("corp/*", "corp/plans/more", false),
            ("corp/**", "corp/plans/more", true),
            ("refs/heads/release-?", "refs/heads/release-7", true),
            ("refs/heads/release-?", "refs/heads/release-77", false),
            ("refs/heads/release-?", "refs/heads/release-/", false),
            (
                "repo:corp/*:ref:refs/heads/main",
                "repo:corp/plans:ref:refs/heads/main",
                true,
            ),
            (
                "repo:corp/*:ref:refs/heads/main",
                "repo:corp/x:ref:refs/heads/x:ref:refs/heads/main",
                false,
            ),
            ("system:serviceaccount:ci:*", "system:serviceaccount:ci:builder", true),
            (
                "system:serviceaccount:ci:*",
                "system:serviceaccount:ci:builder:more",
                false,
            ),
            ("*", "", true),
            ("*", "a/b", false),
            ("**", "a/b:c\n", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "abbbc", true),
            ("a*b*c", "abbbd", false),
            ("CORP/*", "corp/plans", false),
            ("größe", "größe", true),
            ("gr?ße", "größe", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_text_takes_bounded_time() {
        let pattern = Glob::new(&"*a".repeat(40));
        assert!(!pattern.matches(&"a".repeat(16 * 1024).replace("aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaab")));
    }

    #[test]
    fn patterns_of_stars_alone_are_everything() {
        for (pattern, everything) in [
            ("*", true),
            ("**", true),
            ("***", true),
            ("", false),
            ("a*", false),
            ("?", false),
        ] {
            assert_eq!(Glob::new(pattern).is_everything(), everything, "{pattern}");
        }
    }
}
