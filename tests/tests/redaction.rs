//! Values whose fields are denied never get into a file, in whatever way they come.

use std::path::Path;

use ttlog_tests::secrets;

const SECRETS: &str = env!("CARGO_BIN_EXE_secrets");

#[test]
fn no_canary_is_in_any_file_unless_nothing_is_redacted() {
    let outcome = secrets::look(Path::new(SECRETS));
    assert!(outcome.cases > 200, "{}", outcome.cases);
    assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
}
