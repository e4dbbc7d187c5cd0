//! Copies the files of a folder into a new container, and back into another folder, eight at a time; prints
//! the seconds of both. It works with any service that implements the Blob protocol. `tests/bench/service.py`
//! measures with it.
//!
//! STORAGE_KEY=… cargo run --release -p dropmill-azure-client --example copy -- ENDPOINT ACCOUNT CONTAINER
//! FOLDER INTO

use dropmill_azure_client::{
    blob::{BlobApi, BlobOptions, PutOptions},
    endpoint::Endpoint,
    live::HttpTransport,
};
use dropmill_azure_wire::{secret::Secret, sign::SharedKey, time::WallClock};
use futures_util::{StreamExt, TryStreamExt, stream};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use std::{env, error::Error, fs, path::Path, sync::Arc, time::Instant};

const AT_ONCE: usize = 8;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [endpoint, account, container, folder, into] = &arguments[..] else {
        return Err("copy ENDPOINT ACCOUNT CONTAINER FOLDER INTO".into());
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = SharedKey::new(account, &Secret::new(env::var("STORAGE_KEY")?))?;
    // It only generates request ids: they need not be random.
    let rng = ChaCha8Rng::seed_from_u64(u64::from(std::process::id()));
    let (endpoint, transport) = (Endpoint::parse(endpoint)?, Arc::new(HttpTransport::new()?));
    let api = BlobApi::new(BlobOptions::new(endpoint, key, transport, Arc::new(WallClock), rng));
    let mut names = vec![];
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().into_string().map_err(|name| format!("{name:?} is not UTF-8"))?);
    }
    api.create_container(container).await?;

    let began = Instant::now();
    let up = |name: &String| {
        let (api, name, path) = (api.clone(), name.clone(), Path::new(folder).join(name));
        async move { api.put_file(container, &name, &path, PutOptions::default()).await }
    };
    stream::iter(names.iter().map(up)).buffer_unordered(AT_ONCE).try_for_each(async |_| Ok(())).await?;
    let up = began.elapsed();

    fs::create_dir_all(into)?;
    let began = Instant::now();
    let down = |name: &String| {
        let (api, name, path) = (api.clone(), name.clone(), Path::new(into).join(name));
        async move {
            let mut file = fs::File::create(path)?;
            api.download_to(container, &name, &mut file).await?;
            Ok::<(), Box<dyn Error>>(())
        }
    };
    stream::iter(names.iter().map(down)).buffer_unordered(AT_ONCE).try_for_each(async |()| Ok(())).await?;
    println!("up {:.3} down {:.3}", up.as_secs_f64(), began.elapsed().as_secs_f64());
    Ok(())
}
