//! Tests formulas and their values.

use super::{Formula, Samples, Sight, Wish};
use dropmill_azure_wire::time::Timestamp;

/// Returns samples of ten minutes, each with one task more, the last one now.
fn samples(now: Timestamp) -> Samples {
    let mut samples = Samples::default();
    for number in 0..21_u32 {
        let at = now.checked_sub(Samples::PERIOD * (20 - number)).unwrap();
        let sight =
            Sight { active: f64::from(number), running: 2.0, dedicated: 3.0, slots: 4.0, ..Sight::default() };
        samples.take(at, sight);
    }
    samples
}

fn evaluate(formula: &str) -> Result<Wish, String> {
    let now: Timestamp = "2026-03-02T10:11:12Z".parse().unwrap();
    let formula = Formula::read(formula).map_err(|error| format!("syntax: {}", error.message))?;
    formula.evaluate(&samples(now), (3, 1), now, &mut || 0.5).map_err(|error| error.message)
}

#[test]
fn expressions_have_their_documented_values() {
    let table = [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("7 - 2 - 1", 4.0),
        ("8 / 2 / 2", 2.0),
        ("-2 + 5", 3.0),
        ("!0 + !5", 1.0),
        ("1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3 && 1 == 1 && 1 != 2", 1.0),
        ("0 || 0", 0.0),
        ("1 || nothing", 1.0),
        ("0 && nothing", 0.0),
        ("1 ? 2 ? 3 : 4 : 5", 3.0),
        ("0 ? 1 : 0 ? 2 : 9", 9.0),
        ("avg(1, 2, [3, 6])", 3.0),
        ("min(5, $ActiveTasks.GetSample(3))", 5.0),
        ("max($ActiveTasks.GetSample(3))", 20.0),
        ("sum([1,2,3])", 6.0),
        ("len($ActiveTasks.GetSample(TimeInterval_Minute * 2))", 5.0),
        ("len($ActiveTasks.GetSample(TimeInterval_Minute * 4, TimeInterval_Minute * 2))", 5.0),
        ("$ActiveTasks.GetSamplePercent(TimeInterval_Minute * 5)", 100.0),
        ("$ActiveTasks.GetSamplePercent(TimeInterval_Minute * 20)", 52.5),
        ("$ActiveTasks.Count()", 21.0),
        ("$ActiveTasks.GetSamplePeriod() / TimeInterval_Second", 30.0),
        ("(time() - $ActiveTasks.HistoryBeginTime()) / TimeInterval_Minute", 10.0),
        ("$PendingTasks.GetSample(1) + 0", 22.0),
        ("$CurrentDedicatedNodes + 1", 4.0),
        ("$TaskSlotsPerNode", 4.0),
        ("std(2, 4, 4, 4, 5, 5, 7, 9) * std(2, 4, 4, 4, 5, 5, 7, 9) * 7", 32.0),
        ("percentile([4, 1, 3, 2], 50)", 2.5),
        ("val([5, 6, 7], 1)", 6.0),
        ("norm(3, 4)", 5.0),
        ("range([5, 9, 6])", 4.0),
        ("ceil(1.2) + floor(1.8) + round(2.6)", 6.0),
        ("lg(8) + ln(1) + log(100)", 5.0),
        ("rand() * 4", 2.0),
        ("time().hour * 100 + time().minute", 1011.0),
        ("time(\"2026-03-01T00:00:00Z\").weekday", 0.0),
        ("time(\"2026-03-01\") + TimeInterval_Day * 2 > time()", 1.0),
        ("(time(\"2026-03-01\") < time() && time().weekday == 1) ? 3 : 4", 3.0),
    ];
    for (text, expected) in table {
        let wish = evaluate(&format!("x = {text}; $TargetDedicatedNodes = 0;"));
        let results = wish.unwrap_or_else(|error| panic!("{text}: {error}")).results;
        let found: f64 =
            results.split(";x=").nth(1).unwrap().parse().unwrap_or_else(|_| panic!("{text}: {results}"));
        assert!((found - expected).abs() < 1e-6, "{text} = {found}, not {expected}");
    }
}

#[test]
fn a_formula_sets_nodes_and_keeps_other_targets() {
    let wish = evaluate(
        "// Grows with what waits.
         $samples = $ActiveTasks.GetSamplePercent(TimeInterval_Minute * 5);
         $tasks = $samples < 70 ? max(0, $ActiveTasks.GetSample(1)) : max($ActiveTasks.GetSample(1), avg($ActiveTasks.GetSample(TimeInterval_Minute * 5)));
         cap = 10;
         $TargetDedicatedNodes = min(cap, $tasks); /* not more */
         $NodeDeallocationOption = taskcompletion;",
    )
    .unwrap();
    assert_eq!((wish.dedicated, wish.low_priority, wish.option.as_str()), (10, 1, "taskcompletion"));
    assert_eq!(
        wish.results,
        "$TargetDedicatedNodes=10;$TargetLowPriorityNodes=1;$NodeDeallocationOption=taskcompletion;$samples=100;$tasks=20;cap=10"
    );
    let stopped = evaluate("$TargetDedicatedNodes = 7; x = stop(); $TargetDedicatedNodes = 9;").unwrap();
    assert_eq!(stopped.dedicated, 7);
}

#[test]
fn the_old_name_of_dedicated_nodes_can_be_read_and_set() {
    let wish = evaluate("x = $TargetDedicated + 1; $TargetDedicated = x + $TargetDedicated;").unwrap();
    let now = evaluate("x = $TargetDedicatedNodes + 1; $TargetDedicatedNodes = x + $TargetDedicatedNodes;")
        .unwrap();
    assert_eq!((wish.dedicated, &wish.results), (now.dedicated, &now.results));
    assert!(wish.dedicated > 0 && !wish.results.contains("$TargetDedicated="), "{}", wish.results);
}

#[test]
fn errors_of_formulas_have_messages() {
    let table = [
        ("", "syntax: The formula is empty"),
        ("x =", "syntax: The formula ends too early at line 1, character 4"),
        ("x", "Undefined symbol: x in the statement at line 1, character 1"),
        ("x = 1;\ny = \n", "syntax: The formula ends too early at line 2, character 4"),
        ("x = 1 2;", "syntax: Unexpected 2 at line 1, character 7"),
        ("x = (1;", "syntax: Unexpected ';' at line 1, character 7"),
        ("x = \"a", "syntax: A text has no end at line 1, character 5"),
        ("x = 1;\ny = §;", "syntax: Unexpected character at line 2, character 5"),
        ("1 = x;", "syntax: Unexpected 1 at line 1, character 1"),
        ("a = 1;\n  x = y;", "Undefined symbol: y in the statement at line 2, character 3"),
        ("x = 1 / 0;", "Division by zero"),
        ("x = nope(1);", "Undefined function: nope"),
        ("x = ceil();", "ceil does not accept 0 arguments"),
        ("x = avg();", "avg of an empty vector is not defined"),
        ("x = time() + 1;", "The operator + is not defined for timestamp and double"),
        ("x = time() * 2 > 1;", "The operator * is not defined for timestamp and double"),
        ("$TargetDedicatedNodes = -1;", "$TargetDedicatedNodes cannot be -1"),
        ("$TargetDedicatedNodes = 1e99;", "syntax: Unexpected e99 at line 1, character 26"),
        ("$TargetDedicatedNodes = lg(0);", "lg is not defined for this argument"),
        ("$NodeDeallocationOption = gently;", "Undefined symbol: gently"),
        ("$ActiveTasks = 1;", "$ActiveTasks cannot be set"),
        ("x = $CPUPercent.GetSample(1);", "InsufficientSampleData: there are too few samples of $CPUPercent"),
        (
            "x = $ActiveTasks.GetSample(TimeInterval_Hour, 70);",
            "InsufficientSampleData: there are too few samples of $ActiveTasks",
        ),
        ("x = y.GetSample(1);", "y has no samples"),
        ("x = $ActiveTasks.Forecast();", "$ActiveTasks has no Forecast with these arguments"),
        ("x = TimeInterval_Fortnight;", "Undefined symbol: TimeInterval_Fortnight"),
        ("x = time(\"soon\");", "\"soon\" is not a timestamp"),
        ("x = time() + TimeInterval_Year * 99999999;", "The timestamp is out of range"),
    ];
    for (text, expected) in table {
        // An error of the result as a whole has no position.
        let has_its_place =
            ["syntax: ", "in the statement", "cannot be -1"].iter().any(|word| expected.contains(word));
        let place = if has_its_place { "" } else { " in the statement at line 1, character 1" };
        assert_eq!(evaluate(text).err(), Some(format!("{expected}{place}")), "{text}");
    }
    for deep in ["(".repeat(5000), "-".repeat(5000), "!".repeat(5000), "1?".repeat(2500), "max(".repeat(1500)]
    {
        assert!(Formula::read(&format!("x = {deep}1")).is_err());
    }
    let sum = format!("x = {}1;", "1+".repeat(4000));
    assert!(Formula::read(&sum).is_err());
    assert!(Formula::read(&" ".repeat(8193)).is_err());
}

#[test]
fn values_that_grow_exponentially_are_limited() {
    let text = format!("x = \"ab\"; {}", "x = x + x;".repeat(100));
    let vector = format!("x = [1, 2]; {}", "x = [x, x];".repeat(100));
    let copies = format!("x = [{}1]; {}", "1,".repeat(2000), "y = max(x);".repeat(300));
    for formula in [text, vector, copies] {
        let error = evaluate(&formula).err();
        let words = "The values of the formula need too much memory in the statement at line 1, character ";
        assert!(error.as_deref().is_some_and(|error| error.starts_with(words)), "{error:?} {formula}");
    }
    // A day of samples, many times.
    let sum = format!("x = {}0;", "avg($ActiveTasks.GetSample(2880)) + ".repeat(20));
    assert!(evaluate(&sum).is_ok());
}

#[test]
fn the_length_of_a_statement_is_limited() {
    let members = format!("x = time(){};", ".a".repeat(1001));
    let rows = format!("x = 1{}{};", "*1".repeat(600), "+1".repeat(600));
    for formula in [members, rows] {
        let error = Formula::read(&formula).err().map(|error| error.message);
        let words = "A statement of the formula is too long at line 1, character 20";
        assert!(error.as_deref().is_some_and(|error| error.starts_with(words)), "{error:?}");
    }
    assert!(Formula::read(&"x = 1 + 1 + 1;".repeat(500)).is_ok(), "each statement counts by itself");
}

proptest::proptest! {
    #[test]
    fn no_text_causes_a_panic(text in "[a-z$0-9 .,;=+*/()<>?:!&|\"\\[\\]-]{0,80}") {
        let _ = evaluate(&text);
        let _ = evaluate(&format!("x = {text};"));
    }
}
