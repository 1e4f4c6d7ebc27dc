//! Filters that were made to be dear.

/// What each is, its flag, and what is typed behind it.
pub(super) fn cases() -> Vec<(&'static str, &'static str, String)> {
    // An argument has 128 KiB at most.
    let deep = |open: &str, close: &str| open.repeat(25_000) + "a" + &close.repeat(25_000);
    vec![
        (
            "repeated repetitions",
            "-g",
            "((a{1000}){1000}){1000}".into(),
        ),
        ("repeated classes", "-g", r"(\pL{100}){100}".into()),
        ("many classes", "-g", r"[\w\d\s]{0,200}".repeat(50)),
        ("nested groups", "-g", deep("(", ")")),
        ("nested repetitions", "-g", deep("(?:", ")+")),
        ("nested classes", "-g", deep("[", "]")),
        ("a long pattern", "-g", "ab|".repeat(40_000)),
        (
            "a long condition",
            "--field",
            format!("{}=1", "a".repeat(120_000)),
        ),
        (
            "a long number",
            "--field",
            format!("a>{}", "9".repeat(120_000)),
        ),
        (
            "a long moment",
            "--since",
            format!("-{}", "1h".repeat(60_000)),
        ),
        ("a long date", "--since", "2025-".repeat(24_000)),
        ("a long name", "--span", "x".repeat(120_000)),
    ]
}
