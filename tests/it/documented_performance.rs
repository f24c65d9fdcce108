//! The figures of `docs/performance.md` are those that were measured.
//!
//! The tables between its markers are made by `scripts/compare` from `docs/figures/compare.json`. Here
//! they are made again and compared, so that nobody's figures are typed by hand, and no case is left
//! out.

use std::process::Command;

fn compare(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("python3")
        .arg("scripts/compare")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("python3 is missing: apt install python3");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn the_tables_of_performance_are_those_of_the_figures() {
    let (is_right, said) = compare(&["--tables", "--check"]);
    assert!(is_right, "{said}");
}

#[test]
fn scripts_compare_says_what_it_can_do() {
    let (is_fine, said) = compare(&["--help"]);
    assert!(is_fine, "{said}");
    for word in ["--quick", "--case", "--peer", "--binary", "--tables"] {
        assert!(said.contains(word), "{word} is missing in {said}");
    }
    let (is_fine, said) = compare(&["--list"]);
    assert!(is_fine && said.contains("fanout-1000"), "{said}");
}
