//! Values whose fields are denied never get into a file, in whatever way they come; and
//! those that did are not in a copy that was scrubbed.

use std::path::Path;

use ttlog_tests::secrets;

const SECRETS: &str = env!("CARGO_BIN_EXE_secrets");

#[test]
fn no_canary_is_in_any_file_unless_nothing_is_redacted() {
    let outcome = secrets::look(Path::new(SECRETS));
    assert!(outcome.cases > 200, "{}", outcome.cases);
    assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
}

#[test]
fn no_canary_is_in_a_scrubbed_copy_and_all_else_is() {
    let outcome = secrets::scrub(Path::new(SECRETS));
    assert!(outcome.cases > 1000, "{}", outcome.cases);
    assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
}
