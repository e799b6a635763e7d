//! The effect of `cargo bench -- ARGUMENTS` on the comparison, which is not a criterion benchmark.

#[path = "../../benches/selection.rs"]
mod selection;

use selection::{Request, requested};

fn side_by_side(arguments: &str) -> Request {
    let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
    requested(&words, "side_by_side")
}

#[test]
fn a_filter_is_a_regular_expression_as_in_criterion() {
    for filter in ["", "side_by_side", "side", "^side_by_side$", "side.*", "^side", "(side|round)_", "b."] {
        assert_eq!(side_by_side(&format!("{filter} --bench")), Request::Measure, "{filter}");
    }
    for filter in ["round_trip/mio", "^by", "round$", "^side_by$", "round_trip/(mio|tokio)/64B", "fan_out/mio"] {
        assert_eq!(side_by_side(&format!("{filter} --bench")), Request::Nothing, "{filter}");
    }
    assert_eq!(side_by_side("--exact side_by_side --bench"), Request::Measure);
    assert_eq!(side_by_side("--exact side --bench"), Request::Nothing);
    assert_eq!(side_by_side("--exact side.* --bench"), Request::Nothing);
}

#[test]
fn the_value_of_an_option_is_not_a_filter() {
    for options in
        ["--save-baseline x", "-s x", "--save-baseline=x", "--sample-size 10 --warm-up-time 0.1", "-c never --noplot"]
    {
        assert_eq!(side_by_side(&format!("{options} --bench")), Request::Measure, "{options}");
        assert_eq!(side_by_side(&format!("{options} round_trip --bench")), Request::Nothing, "{options}");
        assert_eq!(side_by_side(&format!("round_trip {options} --bench")), Request::Nothing, "{options}");
    }
}

#[test]
fn listing_or_showing_past_figures_starts_no_server() {
    for arguments in ["--list --bench", "--list", "--list side --bench", "--ignored --bench"] {
        assert_eq!(side_by_side(arguments), Request::Nothing, "{arguments}");
    }
    assert_eq!(side_by_side("--load-baseline a --baseline b --bench"), Request::Nothing);
}

#[test]
fn a_test_is_one_small_block() {
    for arguments in ["--test --bench", "--test", "", "side", "--profile-time=5 --bench", "--profile-time 5 --bench"] {
        assert_eq!(side_by_side(arguments), Request::Test, "{arguments}");
    }
    assert_eq!(side_by_side("round_trip --test --bench"), Request::Nothing);
}
