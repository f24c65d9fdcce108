//! The words of letters, in English and Korean.
//!
//! Not here: sending (`mail`). Invariant: nothing that somebody else has written stands in a letter,
//! so that nobody can have us send his words.

use crate::identity::names::prefers_korean;
use crate::mail::Letter;

/// The letter with the link for a new password.
pub(super) fn reset_letter(to: String, link: &str, language: Option<&str>) -> Letter {
    let (subject, text) = if prefers_korean(language.unwrap_or_default()) {
        (
            "비밀번호 재설정",
            format!(
                "안녕하세요.\n\n비밀번호를 다시 정하시려면 아래 링크를 여세요. 한 번만, 1시간 동안 \
                 쓸 수 있습니다.\n\n{link}\n\n요청하신 적이 없다면 이 편지를 무시하셔도 됩니다. \
                 비밀번호는 바뀌지 않습니다.\n"
            ),
        )
    } else {
        (
            "Set a new password",
            format!(
                "Hello,\n\nopen this link to set a new password. It works once, for one hour.\n\n\
                 {link}\n\nIf you did not ask for this you can ignore this letter; your password \
                 stays as it is.\n"
            ),
        )
    };
    Letter {
        to,
        subject: subject.to_owned(),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_written_in_the_readers_language() {
        let letter =
            |language| reset_letter("kim@example.com".to_owned(), "https://x/#y", language);
        assert!(letter(Some("ko-KR,ko;q=0.9")).text.contains("비밀번호"));
        assert!(letter(None).text.contains("new password"));
        assert!(letter(Some("ko")).text.contains("https://x/#y"));
    }
}
