//! What follows when tasks fail: success codes, attempts by cause, and the end of a run in which too many failed.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Desk, Said,
    mill::{self, Mill, put},
};
use serde_json::{Value, json};

/// Exits with the words of its input in turn, one for each attempt; `sleep` outlives the limit of the task. Each attempt leaves a
/// file, and fails if one lies there already.
const IN_TURN: &str = r#"
test -e left && exit 99
touch left
attempt=${AZ_BATCH_TASK_ID##*-}
case $attempt in ?) ;; *) attempt=1;; esac
word=$(cut -d ' ' -f $attempt "$DROPMILL_INPUT")
echo "attempt $attempt: $word" >&2
if test "$word" = sleep; then sleep 600; fi
exit $word
"#;

fn desk(run: &str, task: &str, inputs: &[(&str, &str)]) -> Desk {
    let desk = Desk::new();
    for (name, words) in inputs {
        desk.write(format!("data/{name}"), words);
    }
    desk.write(
        "run.toml",
        format!(
            "[run]\nname = \"retries\"\n{run}\n[input]\nfiles = [\"data/*\"]\n[pool]\nnodes = 1\nslots_per_node = 2\n\
             [output]\ndirectory = \"out\"\n[task]\noutputs = [\"left\"]\nshell = '''{IN_TURN}'''\n{task}\n"
        ),
    );
    desk
}

/// Attempt, reason and milliseconds until the next of each failed attempt at a task, in order.
fn failed_attempts(said: &Said, input: &str) -> Vec<Value> {
    let subject = format!("task/{}", result(said, input)["task"].as_str().unwrap());
    let is_one = |event: &&Value| event["kind"] == "task_attempt_failed" && event["subject"] == *subject;
    let shown = |event: &Value| {
        let payload = &event["payload"];
        json!([payload["attempt"], payload["reason"], payload["after_ms"]])
    };
    said.events.iter().filter(is_one).map(shown).collect()
}

fn result<'a>(said: &'a Said, input: &str) -> &'a Value {
    let results = said.report["results"].as_array().unwrap();
    results.iter().find(|result| result["input"] == format!("data/{input}")).unwrap()
}

#[test]
fn tasks_are_tried_again_by_the_cause_of_their_failure() {
    let task = "timeout = \"1s\"\nsuccess_codes = [0, 1]\n[task.retry]\nmax = 2\non = [75, \"timeout\"]\nnot_on = [2]\ndelay = \"50ms\"\nfactor = 3";
    let inputs = [
        ("grep", "1"),
        ("later", "75 75 0"),
        ("never", "75 75 75"),
        ("wrong", "2 0"),
        ("other", "9 0"),
        ("slow", "sleep 1"),
    ];
    let desk = desk("", task, &inputs);
    let said = desk.run("run.toml");
    said.exited(1);
    let verdicts = inputs.map(|(name, _)| {
        let result = result(&said, name);
        (name, result["verdict"].as_str().unwrap(), result["exit_code"].as_i64(), result["retries"].as_u64())
    });
    assert_eq!(
        verdicts,
        [
            ("grep", "succeeded", Some(1), Some(0)),
            ("later", "succeeded", Some(0), Some(2)),
            ("never", "failed", Some(75), Some(2)),
            ("wrong", "failed", Some(2), Some(0)),
            ("other", "failed", Some(9), Some(0)),
            ("slow", "succeeded", Some(1), Some(1)),
        ]
    );
    let twice = [json!([1, "exit_code", 50]), json!([2, "exit_code", 150])];
    assert_eq!(failed_attempts(&said, "later"), twice);
    assert_eq!(failed_attempts(&said, "never"), [&twice[..], &[json!([3, "exit_code", null])]].concat());
    assert_eq!(failed_attempts(&said, "wrong"), [json!([1, "exit_code", null])]);
    assert_eq!(failed_attempts(&said, "slow"), [json!([1, "timeout", 50])]);
    assert_eq!(failed_attempts(&said, "grep"), Vec::<Value>::new());
    // The next attempt begins when the delay is over, in a folder of its own; what earlier ones wrote is kept.
    let folder = "out/data/later";
    let streams = ["attempt-1.stderr.txt", "attempt-2.stderr.txt", "stderr.txt"];
    let streams = streams.map(|name| desk.read(format!("{folder}/{name}")));
    assert_eq!(streams, ["attempt 1: 75\n", "attempt 2: 75\n", "attempt 3: 0\n"]);
    // The service tries nothing again by itself.
    assert!(said.of("task_ended").iter().all(|ended| ended["retries"].as_u64() <= Some(2)));
    let started = said.of("task_running").into_iter().filter(|event| event["started"].is_string());
    assert!(started.count() > 0);
    assert_eq!(said.of("pool_created")[0]["slots_per_node"], 2);
}

#[test]
fn a_success_with_another_code_is_reported_and_is_no_success_by_another_recipe() {
    let desk = desk("", "success_codes = [1]", &[("one", "1"), ("zero", "0")]);
    let output = desk.output(&["run", "run.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("exit code 0, which is none of task.success_codes"), "{text}");
    let line = text.lines().find(|line| line.contains("data/one")).unwrap();
    assert!(line.starts_with("ok ") && line.contains("exit code 1"), "{line}");
    // By the usual codes its success is none.
    let skipping = |more: &[&str]| {
        let arguments = [&["plan", "run.toml", "--skip-done"], more].concat();
        String::from_utf8(desk.output(&arguments).stdout).unwrap()
    };
    assert!(skipping(&[]).contains("done      data/one"), "{}", skipping(&[]));
    desk.write("run.toml", desk.read("run.toml").replace("[1]", "[0]"));
    let text = skipping(&[]);
    assert!(text.contains("run       data/one: changed since: success_codes"), "{text}");
}

#[test]
fn a_run_in_which_too_many_tasks_fail_starts_no_more_and_says_why() {
    let inputs: Vec<(String, &str)> = (0..40).map(|number| (format!("{number:02}"), "3")).collect();
    let inputs: Vec<(&str, &str)> = inputs.iter().map(|(name, words)| (&**name, *words)).collect();
    for (limit, most) in [("3", 3), ("\"7.5%\"", 3)] {
        let desk = desk(&format!("max_failures = {limit}"), "", &inputs);
        let said = desk.run("run.toml");
        said.exited(1);
        let tasks = &said.report["tasks"];
        let (failed, unfinished) = (tasks["failed"].as_u64().unwrap(), tasks["unfinished"].as_u64().unwrap());
        assert!(failed >= most && unfinished > 0 && failed + unfinished == 40, "{tasks}");
        assert_eq!(said.report["outcome"], "tasks_failed");
        assert_eq!(said.report["max_failures"], most);
        let reason = said.report["reason"].as_str().unwrap();
        let expected =
            format!("{failed} tasks failed, and run.max_failures is 3: {unfinished} tasks were not started");
        assert_eq!(reason, expected);
        let reached = said.of("max_failures_reached");
        assert_eq!((reached.len(), &reached[0]["limit"]), (1, &most.into()));
        let causes: Vec<_> =
            said.of("task_closed").iter().filter_map(|closed| closed["cause"].as_str()).collect();
        assert!(causes.contains(&"not started: run.max_failures was reached"), "{causes:?}");
        assert_eq!(desk.processes(), Vec::<String>::new());
        // What was not started is done by a retry, without the limit.
        let again = desk.output(&["run", "run.toml", "--set", "run.max_failures=41"]);
        assert_eq!(again.status.code(), Some(1));
    }
    let desk = desk("max_failures = 1", "", &inputs);
    let output = desk.output(&["run", "run.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(
        text.lines().any(|line| line.starts_with("why: ") && line.contains("run.max_failures is 1")),
        "{text}"
    );
}

#[test]
fn what_runs_when_too_many_failed_ends_by_itself_and_is_delivered() {
    let desk =
        desk("max_failures = 1", "", &[("a-bad", "3"), ("b-long", "0"), ("c-more", "0"), ("d-more", "0")]);
    // One upload after the other: the first two tasks run first.
    desk.write("run.toml", desk.read("run.toml") + "[limits]\nuploads = 1\nsubmissions = 1\n");
    let here = desk.path(".").display().to_string();
    // The long one runs until the run has said that no more are started.
    let waits = format!(
        "case $DROPMILL_INPUT_NAME in a-bad) until test -e {here}/began; do sleep 0.01; done;; \
                         *) touch {here}/began; until test -e {here}/gate; do sleep 0.01; done;; esac\n"
    );
    desk.write("run.toml", desk.read("run.toml").replace("test -e left", &format!("{waits}test -e left")));
    let mut going = desk.start("run.toml");
    going.until("job_disabled");
    desk.write("gate", "");
    let said = going.end();
    said.exited(1);
    assert_eq!(result(&said, "b-long")["verdict"], "succeeded");
    assert_eq!(desk.read("out/data/b-long/stderr.txt"), "attempt 1: 0\n");
    assert!(said.report["tasks"]["unfinished"].as_u64() >= Some(1), "{}", said.report["tasks"]);
}

#[test]
fn a_run_that_is_killed_while_a_task_waits_for_its_next_attempt_tries_it_again_when_it_is_resumed() {
    let task = "[task.retry]\nmax = 1\ndelay = \"2s\"";
    let desk = desk("", task, &[("a", "75 0")]);
    let mut going = desk.start("run.toml");
    going.until("task_attempt_failed");
    going.kill();
    let said = desk.run_with(&["run", "run.toml", "--resume", "--json"]);
    said.exited(0);
    assert_eq!(said.of("task_retried").len(), 1);
    assert_eq!(said.of("task_attempt_failed").len(), 0, "it was recorded before");
    assert_eq!(desk.read("out/data/a/attempt-1.stderr.txt"), "attempt 1: 75\n");
    assert_eq!(result(&said, "a")["retries"], 1);
}

#[test]
fn mistakes_in_the_rules_for_failures_are_reported_at_their_lines() {
    let desk = desk(
        "max_failures = \"5\"",
        "success_codes = [0, 300]\nmax_retries = 1\n[task.retry]\nmax = 2\non = [75, \"time_out\"]\nnot_on = [0, 75]\nfactor = 0.5\ndelay = \"2h\"",
        &[("a", "0")],
    );
    let (code, text) = desk.refused(&["plan", "run.toml"]);
    assert_eq!(code, Some(2));
    for expected in [
        "run.max_failures: \"5\" is no share of the tasks: write a number of tasks, or for example \"5%\"",
        "task.retry.on: \"time_out\" is not possible; did you mean \"timeout\"? it is an exit code or one of \"exit_code\"",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    desk.write("run.toml", desk.read("run.toml").replace("\"5\"", "5").replace("time_out", "timeout"));
    let (_, text) = desk.refused(&["plan", "run.toml"]);
    for expected in [
        "task.max_retries: it is short for task.retry.max: give one of the two",
        "task.success_codes: 300 is no exit code",
        "task.retry.factor: 0.5 is not possible: it must be from 1 to 100",
        "task.retry.delay: 2h is longer than task.retry.max_delay, 1h",
        "task.retry.not_on: 0 is one of task.success_codes",
        "task.retry.not_on: 75 is in task.retry.on as well",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    desk.write("run.toml", desk.read("run.toml").replace("max = 2\n", "").replace("max_retries = 1\n", ""));
    let (_, text) = desk.refused(&["plan", "run.toml"]);
    assert!(text.contains("task.retry: max is missing"), "{text}");
}

#[test]
fn a_plan_says_what_follows_when_tasks_fail() {
    let task = "success_codes = [0, 1]\n[task.retry]\nmax = 3\non = [75, \"node_lost\"]\nnot_on = [2]\ndelay = \"10s\"\nfactor = 2";
    let desk = desk("max_failures = \"50%\"", task, &[("a", "0"), ("b", "0"), ("c", "0")]);
    let text = String::from_utf8(desk.output(&["plan", "run.toml"]).stdout).unwrap();
    for expected in [
        "success   exit code 0, 1\n",
        "retries   3 after exit code 75, node_lost, not after exit code 2, after 10.0s, 20.0s, 40.0s\n",
        "failures  after 2 failed tasks no more are started\n",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_file_of_a_drop_folder_is_tried_again_as_the_policy_says() {
    let desk = mill::desk();
    let text = desk.read("run.toml");
    let shell = format!(
        "outputs = [\"left\"]\nshell = '''{IN_TURN}'''\nsuccess_codes = [0, 1]\n[task.retry]\nmax = 1\non = [75]\ndelay = \"20ms\"\n[pool]"
    );
    let start = text.find("shell = ").unwrap();
    let end = text.find("[pool]").unwrap();
    let text = format!("{}{shell}{}", &text[..start], &text[end + "[pool]".len()..]);
    desk.write("run.toml", text.replace("[run]", "[run]\nmax_failures = 1"));
    let mut mill = Mill::start(&desk, &[]);
    for (name, words) in
        [("later.txt", "75 0"), ("grep.txt", "1"), ("bad.txt", "3 0"), ("worse.txt", "75 75")]
    {
        put(&desk, name, words);
    }
    let finished = mill.finished(4);
    let expected =
        [("bad.txt", "failed"), ("grep.txt", "done"), ("later.txt", "done"), ("worse.txt", "failed")];
    assert_eq!(finished, expected.map(|(name, place)| (name.to_owned(), place.to_owned())).into());
    assert_eq!(desk.read("done/later.txt/attempt-1.stderr.txt"), "attempt 1: 75\n");
    let result: Value = serde_json::from_str(&desk.read("done/grep.txt/result.json")).unwrap();
    assert_eq!(result["exit_code"], 1);
    mill.end();
}
