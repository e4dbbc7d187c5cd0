//! Guarantees of the local service for its clients over sockets: accepted work is done even after `kill
//! -9`.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Desk, Served};
use dropmill_azure_client::{
    Endpoint,
    batch::{BatchApi, BatchOptions},
    blob::{BlobApi, BlobOptions, PutOptions},
    live::HttpTransport,
};
use dropmill_azure_wire::{batch as wire, sign::SharedKey, time::WallClock};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{
    fs::File,
    io::{BufRead, BufReader},
    sync::Arc,
    time::Duration,
};

fn clients(served: &Served) -> (BatchApi, BlobApi) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let transport = Arc::new(HttpTransport::new().unwrap());
    let rng = || ChaCha8Rng::seed_from_u64(1);
    let key = |of: &str| {
        SharedKey::new(served.text(&format!("/{of}/account")), &served.text(&format!("/{of}/key")).into())
            .unwrap()
    };
    let endpoint = |of: &str| Endpoint::parse(served.text(&format!("/{of}/endpoint"))).unwrap();
    let clock = Arc::new(WallClock);
    let batch =
        BatchOptions::new(endpoint("batch"), key("batch").into(), transport.clone(), clock.clone(), rng());
    let blob = BlobOptions::new(endpoint("blob"), key("blob"), transport, clock, rng());
    (BatchApi::new(batch), BlobApi::new(blob))
}

fn pool(nodes: i32) -> wire::PoolAdd {
    wire::PoolAdd {
        id: "pool".into(),
        vm_size: "STANDARD_D2S_V3".into(),
        virtual_machine_configuration: Some(wire::VirtualMachineConfiguration {
            image_reference: wire::ImageReference {
                publisher: Some("canonical".into()),
                offer: Some("0001-com-ubuntu-server-jammy".into()),
                sku: Some("22_04-lts".into()),
                ..Default::default()
            },
            node_agent_sku_id: "batch.node.ubuntu 22.04".into(),
            ..Default::default()
        }),
        target_dedicated_nodes: Some(nodes),
        ..Default::default()
    }
}

fn job() -> wire::JobAdd {
    wire::JobAdd {
        id: "job".into(),
        pool_info: wire::PoolInfo { pool_id: Some("pool".into()), ..Default::default() },
        ..Default::default()
    }
}

fn on_own_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), work).await.expect("in time") })
}

#[test]
fn accepted_work_is_done_even_if_the_service_is_killed_meanwhile() {
    const TASKS: usize = 200;
    const NODES: i32 = 3;
    let desk = Desk::new();
    let (news, second) = (desk.path("news"), desk.path("second-life"));
    rustix::fs::mknodat(rustix::fs::CWD, &news, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // Before the kill, every task reports that it is running, and then runs for a long time.
    let script = |number: usize| {
        format!(
            "test -e {0} && exit {1}; echo {number} > {2}; exec sleep 600",
            second.display(),
            number % 3,
            news.display()
        )
    };

    let served = Served::on(&desk);
    let (batch, blob) = clients(&served);
    on_own_runtime(async {
        blob.create_container("kept").await.unwrap();
        blob.put_blob("kept", "small", "small", PutOptions::default()).await.unwrap();
        blob.put_blob("kept", "large", vec![7; 3 << 20], PutOptions::default()).await.unwrap();
        batch.create_pool(&pool(NODES)).await.unwrap();
        batch.create_job(&job()).await.unwrap();
        let tasks: Vec<_> = (0..TASKS)
            .map(|number| wire::TaskAdd {
                id: format!("task-{number:03}"),
                command_line: dropmill_azure_wire::command_line::quote(["/bin/sh", "-c", &script(number)]),
                ..Default::default()
            })
            .collect();
        for chunk in tasks.chunks(100) {
            let results = batch.add_tasks("job", chunk).await.unwrap();
            assert!(results.iter().all(|result| result.error.is_none()));
        }
    });
    // Also open for writing: otherwise the reader would get an end of file when no task is writing.
    let news = File::options().read(true).write(true).open(&news).unwrap();
    let mut running = BufReader::new(news).lines();
    let ran: Vec<usize> = (0..NODES).map(|_| running.next().unwrap().unwrap().parse().unwrap()).collect();
    assert_eq!(desk.processes().len(), NODES as usize);
    served.kill();
    desk.write("second-life", "");

    let served = Served::on(&desk);
    let (batch, blob) = clients(&served);
    on_own_runtime(async {
        while batch.task_counts("job").await.unwrap().task_counts.completed < TASKS as i32 {
            tokio::task::yield_now().await;
        }
        let counts = batch.task_counts("job").await.unwrap().task_counts;
        let expected = (0..TASKS).filter(|number| number % 3 == 0).count() as i32;
        assert_eq!((counts.succeeded, counts.failed), (expected, TASKS as i32 - expected));
        for number in 0..TASKS {
            let task = batch.get_task("job", &format!("task-{number:03}")).await.unwrap();
            let info = task.execution_info.unwrap();
            assert_eq!(info.exit_code, Some((number % 3) as i32), "task {number}");
            assert_eq!(info.retry_count, 0, "the service's end is not the task's failure");
            // The kill may come before the start of a task was durable: then the service never knew that it
            // was running.
            let most = i32::from(ran.contains(&number));
            assert!((0..=most).contains(&info.requeue_count), "task {number}: {}", info.requeue_count);
        }
        assert_eq!(blob.get_blob("kept", "small", 100).await.unwrap(), "small");
        assert_eq!(blob.get_blob("kept", "large", 4 << 20).await.unwrap(), vec![7; 3 << 20]);
        batch.delete_pool("pool").await.unwrap();
    });
    assert_eq!(desk.processes(), Vec::<String>::new(), "nothing of the first life is left");
    assert_eq!(served.end(), Some(0));
}

#[test]
fn a_task_on_several_nodes_is_done_even_if_the_service_is_killed_meanwhile() {
    const NODES: usize = 3;
    let desk = Desk::new();
    let (news, second) = (desk.path("news"), desk.path("second-life"));
    rustix::fs::mknodat(rustix::fs::CWD, &news, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    desk.write("tool/word", "packed\n");
    let tool = format!("tool@1={}", desk.path("tool").display());
    let quoted = |script: &str| dropmill_azure_wire::command_line::quote(["/bin/sh", "-c", script]);
    // Before the kill, every coordination command leaves a process running and reports it, and the main
    // command takes long.
    let coordination = format!(
        "test -e {0} && exit 0; setsid sleep 600 & cat $AZ_BATCH_APP_PACKAGE_tool/word > {1}",
        second.display(),
        news.display()
    );
    let command = format!(
        "test -e {0} || {{ echo main > {1}; exec sleep 600; }}; cat $AZ_BATCH_APP_PACKAGE_tool/word; exit 5",
        second.display(),
        news.display()
    );

    let served = Served::with(&desk, &["--application", &tool]);
    let (batch, _) = clients(&served);
    on_own_runtime(async {
        let references =
            vec![wire::ApplicationPackageReference { application_id: "tool".into(), version: None }];
        let pool = wire::PoolAdd {
            enable_inter_node_communication: Some(true),
            application_package_references: Some(references),
            ..pool(NODES as i32)
        };
        batch.create_pool(&pool).await.unwrap();
        batch.create_job(&job()).await.unwrap();
        let together = wire::MultiInstanceSettings {
            number_of_instances: Some(NODES as i32),
            coordination_command_line: quoted(&coordination),
            common_resource_files: None,
        };
        let task = wire::TaskAdd {
            id: "together".into(),
            command_line: quoted(&command),
            multi_instance_settings: Some(together),
            ..Default::default()
        };
        let results = batch.add_tasks("job", &[task]).await.unwrap();
        assert!(results.iter().all(|result| result.error.is_none()));
    });
    // Also open for writing: otherwise the reader would get an end of file between two writers.
    let news = File::options().read(true).write(true).open(&news).unwrap();
    let words: Vec<_> = BufReader::new(news).lines().take(NODES + 1).map(Result::unwrap).collect();
    assert_eq!((words.iter().filter(|word| *word == "packed").count(), &*words[NODES]), (NODES, "main"));
    assert!(desk.processes().len() > NODES, "the command, and what the coordinations left");
    served.kill();
    desk.write("second-life", "");

    let served = Served::with(&desk, &["--application", &tool]);
    let (batch, _) = clients(&served);
    on_own_runtime(async {
        while batch.task_counts("job").await.unwrap().task_counts.completed < 1 {
            tokio::task::yield_now().await;
        }
        let info = batch.get_task("job", "together").await.unwrap().execution_info.unwrap();
        assert_eq!((info.exit_code, info.retry_count, info.requeue_count), (Some(5), 0, 1));
        batch.delete_pool("pool").await.unwrap();
    });
    assert_eq!(desk.processes(), Vec::<String>::new(), "nothing of the first life is left");
    assert_eq!(served.end(), Some(0));
}

#[test]
fn unusable_packages_are_rejected_before_the_service_starts() {
    let desk = Desk::new();
    desk.write("tool.zip", "no archive");
    let table = [
        ("tool", "ID@VERSION=PATH"),
        ("tool@1", "ID@VERSION=PATH"),
        ("tool@1=", "ID@VERSION=PATH"),
        ("tool@1=nowhere.zip", "nowhere.zip"),
        ("tool@1=tool.zip", "tool.zip"),
        ("../tool@1=.", "application's id"),
        ("tool@..=.", "the version"),
    ];
    for (package, words) in table {
        let arguments =
            ["serve", "--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0", "--application", package];
        let output = desk.dropmill(&arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.contains(words)), (Some(2), true), "{package}: {error}");
    }
}

#[test]
fn requests_are_logged_with_their_errors_and_without_signatures() {
    let desk = Desk::new();
    let log = desk.path("requests.log");
    let served = Served::writing_to(&desk, &["--log-requests"], &log);
    let (batch, blob) = clients(&served);
    on_own_runtime(async {
        batch.create_pool(&pool(0)).await.unwrap();
        batch.create_pool(&pool(0)).await.unwrap_err();
        blob.create_container("box").await.unwrap();
        blob.get_blob("box", "missing", 1).await.unwrap_err();
    });
    let endpoint = served.text("/blob/endpoint").to_owned();
    let secret = on_own_runtime(async {
        let url = format!("{endpoint}/box/b?sv=2022-11-02&sr=b&sp=r&sig=c2VjcmV0");
        reqwest::get(url).await.unwrap().status()
    });
    assert_eq!(secret, 403);
    served.end();
    let lines = std::fs::read_to_string(log).unwrap();
    // Without the time at the start and the milliseconds.
    let requests: Vec<String> = lines
        .lines()
        .filter(|line| line.contains(" ms "))
        .map(|line| {
            let parts: Vec<_> = line.split(' ').collect();
            [&parts[1..5], &parts[7..]].concat().join(" ")
        })
        .collect();
    insta::assert_snapshot!(requests.join("\n"));
    assert!(!lines.contains("c2VjcmV0"), "{lines}");
}
