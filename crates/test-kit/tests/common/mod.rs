//! A plan for runs in virtual time.
#![allow(dead_code)]

use dropmill_lifecycle::{delays::Delays, plan::*};
use dropmill_local_azure::runner::Pretend;
use std::{collections::BTreeMap, time::Duration};

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Creates a plan of tasks without inputs.
pub fn plan(tasks: u32) -> RunPlan {
    let item = |index: u32| Item {
        index,
        task: format!("task-{index}"),
        relative: format!("task-{index}"),
        source: None,
        file_name: String::new(),
        size_bytes: 0,
        modified: None,
        mode: None,
        command_line: "/bin/work".into(),
        environment: vec![],
        result_folder: format!("task-{index}"),
        whole_folder: false,
        supersedes: None,
        blob: None,
        more_files: vec![],
        values: vec![],
        recipe: Default::default(),
        outputs: None,
        chunk: None,
    };
    RunPlan {
        run: "lines-20260101-000000-abcdef".into(),
        name: "lines".into(),
        service: "embedded".into(),
        application: vec![],
        shared_application: None,
        items: (0..tasks).map(item).collect(),
        grouping: None,
        chunks: vec![],
        open_ended: false,
        pool: PoolPlan {
            id: "lines-20260101-000000-abcdef".into(),
            own: true,
            nodes: 3,
            spot_nodes: 0,
            slots_per_node: 1,
            vm_size: "STANDARD_D2S_V3".into(),
            image: BTreeMap::new(),
            node_agent: "batch.node.ubuntu 22.04".into(),
            start_task: None,
            start_task_retries: 0,
            fingerprint: "f".into(),
        },
        job: JobPlan {
            id: "lines-20260101-000000-abcdef".into(),
            priority: 0,
            outputs: vec!["*.txt".into()],
            max_retries: 0,
            success_codes: vec![0],
            retry: RetryPlan::default(),
            task_timeout: None,
            required_slots: 1,
            self_upload: false,
        },
        output: OutputPlan {
            directory: "/results".into(),
            layout: Layout::ByInput,
            existing: Existing::KeepBoth,
        },
        max_failures: None,
        cleanup: CleanupPlan { pool: When::Always, job: When::Always, containers: When::Always },
        deadlines: Deadlines {
            run: secs(3600),
            allocation: secs(900),
            start_task: secs(600),
            unusable: secs(2700),
            queue: None,
            upload: secs(600),
            cancelled: secs(120),
            delivery: secs(600),
            no_progress: None,
            cleanup: secs(600),
        },
        limits: Limits {
            uploads: 8,
            upload_bytes: 64 << 20,
            submissions: 4,
            fetches: 8,
            result_files: 100,
            stream_bytes: 1 << 30,
            fail_on_overflow: false,
            poll_every: secs(5),
            poll_at_most_every: Duration::from_millis(10),
            call_timeout: secs(30),
        },
        delays: Delays { steps: vec![secs(1), secs(2), secs(4)], for_ever: false },
        recipe: std::collections::BTreeMap::new(),
        run_file: None,
        notes: vec![],
    }
}

pub fn work(seconds: u64) -> Pretend {
    Pretend {
        duration: secs(seconds),
        outputs: vec![("lines.txt".into(), b"3\n".to_vec())],
        ..Pretend::default()
    }
}
