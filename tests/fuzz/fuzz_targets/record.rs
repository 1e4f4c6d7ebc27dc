#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ttlog_tests::fuzzed::record(bytes));
