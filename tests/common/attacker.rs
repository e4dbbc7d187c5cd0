//! Another user who may write to a drop folder, and attacks processes that take files from it: a process
//! of its own, with another user id if the tests run as root.
//!
//! It is the test's own program, started again for one ignored test that calls [`attack`].

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, Mode, OFlags, RenameFlags},
};
use std::{
    collections::VecDeque,
    ffi::OsStr,
    fs, io,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The content that must never leave its folder.
pub const SECRET: &str = "top secret 0123456789";
/// User and group id of an attacker who is not the daemon's user.
const NOBODY: u32 = 65534;
/// Names of the environment variables that control the process.
const ORDER: [&str; 4] = ["ATTACK", "ATTACK_ON", "ATTACK_SECRETS", "ATTACK_SWAPS"];
/// Number of folders whose handles are kept at the same time.
const HELD: usize = 8;

/// Number of swaps after which another folder is dropped.
const SWAPS_OF_A_FOLDER: u32 = 4;

/// What is done to the drop folder, or to the folder of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// The folder that contains a file is swapped with a link, or moved away and filled there.
    Parent,
    /// The same, one level higher or lower.
    Grandparent,
    /// Files of folders are swapped with links, also after the folders were taken, through open handles.
    Held,
    /// A folder in the folder of results is swapped with a link.
    #[allow(dead_code, reason = "not every test that uses this file has results that others may write to")]
    Results,
}

/// A running attack. It ends by itself or when this is dropped.
pub struct Attacker(Child);

impl Attacker {
    /// Starts an attack with this number of swaps on a folder. `secrets` is a folder of [`secrets`], `test`
    /// the name of the ignored test.
    pub fn start(attack: Attack, on: &Path, secrets: &Path, swaps: u32, test: &str) -> Self {
        let start = |other_user: bool| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", test, "--ignored"]).stdout(Stdio::null());
            let (attack, swaps) = (format!("{attack:?}"), swaps.to_string());
            let order = [OsStr::new(&attack), on.as_os_str(), secrets.as_os_str(), OsStr::new(&swaps)];
            command.envs(ORDER.into_iter().zip(order));
            if other_user {
                command.uid(NOBODY).gid(NOBODY).current_dir("/");
            }
            command.spawn()
        };
        let child = match rustix::process::geteuid().is_root() {
            false => start(false),
            true => start(true).or_else(|error| {
                eprintln!("attacked by the same user: another one may not run this program: {error}");
                start(false)
            }),
        };
        Self(child.unwrap())
    }

    /// Returns whether the attack is over.
    #[allow(dead_code, reason = "each test uses one of the two")]
    pub fn is_over(&mut self) -> bool {
        match self.0.try_wait().unwrap() {
            Some(status) => {
                assert!(status.success(), "the attacker failed");
                true
            }
            None => false,
        }
    }
}

impl Attacker {
    /// Waits until the attack is over.
    #[allow(dead_code, reason = "each test uses one of the two")]
    pub fn wait(mut self) {
        assert!(self.0.wait().unwrap().success(), "the attacker failed");
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Creates a folder of files that only this user may read: `secret` and `inner/secret`.
pub fn secrets(folder: &Path) {
    fs::create_dir_all(folder.join("inner")).unwrap();
    for name in ["secret", "inner/secret"] {
        fs::write(folder.join(name), SECRET).unwrap();
        fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).unwrap();
}

/// Creates a folder that every user may write to.
pub fn open_to_all(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, PermissionsExt::from_mode(0o777)).unwrap();
}

/// Checks that the secrets are in their place, that neither they nor links are in `delivered`, and that they
/// are nowhere in `kept`.
pub fn check(secrets: &Path, delivered: &[PathBuf], kept: &[PathBuf]) {
    for name in ["secret", "inner/secret"] {
        let content = fs::read_to_string(secrets.join(name));
        assert_eq!(content.unwrap_or_else(|error| panic!("{name} was moved: {error}")), SECRET);
    }
    let count = |folder: &Path| fs::read_dir(folder).unwrap().count();
    assert_eq!((count(secrets), count(&secrets.join("inner"))), (2, 1), "nothing came into the folder");
    let all =
        |folders: &[PathBuf], may_link: bool| folders.iter().cloned().map(|path| (path, may_link)).collect();
    let mut waiting: Vec<_> = all(delivered, false);
    waiting.extend::<Vec<_>>(all(kept, true));
    while let Some((path, may_link)) = waiting.pop() {
        let Ok(facts) = fs::symlink_metadata(&path) else { continue };
        assert!(may_link || !facts.is_symlink(), "{} is a link", path.display());
        if facts.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| (entry.unwrap().path(), may_link)));
        } else if facts.is_file() {
            let content = fs::read(&path).unwrap();
            let secret = SECRET.as_bytes();
            assert!(
                !content.windows(secret.len()).any(|part| part == secret),
                "{} is secret",
                path.display()
            );
        }
    }
}

/// Attacks if the environment variables say so; otherwise does nothing.
pub fn attack() {
    let [Some(attack), Some(on), Some(secrets), Some(swaps)] = ORDER.map(std::env::var_os) else { return };
    let mut plan = Plan {
        on: on.into(),
        secrets: secrets.into(),
        swaps: swaps.to_str().unwrap().parse().unwrap(),
        chance: 0x9e37_79b9_7f4a_7c15,
    };
    // The daemon's user must be able to write to everything that this user creates.
    rustix::process::umask(Mode::empty());
    match attack.to_str().unwrap() {
        "Parent" => plan.swap_parents(&["p"]),
        "Grandparent" => plan.swap_parents(&["p", "p/inner"]),
        "Held" => plan.swap_held(),
        "Results" => plan.swap_results(),
        other => panic!("no attack is called {other}"),
    }
}

struct Plan {
    on: PathBuf,
    secrets: PathBuf,
    swaps: u32,
    chance: u64,
}

impl Plan {
    /// Waits for a different time in each call, between nothing and two milliseconds.
    fn pause(&mut self) {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        std::thread::sleep(Duration::from_micros(self.chance % 2000));
    }

    /// Creates a file that a daemon may take; it disappears when the daemon takes it.
    fn bait(&self, parents: &[&str]) {
        // If this user can read the secrets itself, it must not write to them through its own links.
        if parents.iter().any(|parent| is_link(&self.on.join(parent))) {
            return;
        }
        let folder = self.on.join(parents[parents.len() - 1]);
        let _ = fs::create_dir_all(&folder);
        let _ = fs::write(folder.join("secret"), "bait");
    }

    fn swap_parents(&mut self, parents: &[&str]) {
        for number in 0..self.swaps {
            let which = number as usize % parents.len();
            let parent = self.on.join(parents[which]);
            // The link leads to where the rest of the path exists.
            let target = if which == 0 { self.secrets.clone() } else { self.secrets.join("inner") };
            let link = self.on.join(format!(".link{number}"));
            let aside = self.on.join(format!(".aside{number}"));
            // A link remains from the last swap.
            parents.iter().map(|parent| self.on.join(parent)).filter(|path| is_link(path)).for_each(|path| {
                let _ = fs::remove_file(path);
            });
            self.bait(parents);
            symlink(&target, &link).unwrap();
            self.pause();
            match number % 4 {
                0 => {
                    let _ = exchange(&parent, &link);
                    self.pause();
                    let _ = exchange(&parent, &link);
                }
                1 => {
                    let _ = fs::rename(&parent, &aside);
                    let _ = fs::rename(&link, &parent);
                    self.pause();
                    let _ = fs::remove_file(&parent);
                    let _ = fs::rename(&aside, &parent);
                }
                2 => {
                    let _ = fs::rename(&parent, &aside);
                    if !is_link(&aside) {
                        let _ = fs::remove_file(aside.join("secret"));
                        let _ = symlink(target.join("secret"), aside.join("secret"));
                    }
                    self.pause();
                    let _ = fs::rename(&aside, &parent);
                    self.pause();
                    if !is_link(&parent) && is_link(&parent.join("secret")) {
                        let _ = fs::remove_file(parent.join("secret"));
                    }
                }
                _ => (0..50).for_each(|_| {
                    self.bait(parents);
                    let _ = exchange(&parent, &link);
                }),
            }
            let _ = fs::remove_file(&link);
        }
        // At the end a file can be taken, however slow the daemon was meanwhile.
        parents.iter().for_each(|parent| {
            let _ = fs::remove_file(self.on.join(parent));
        });
        self.bait(parents);
    }

    fn swap_held(&mut self) {
        let mut held: VecDeque<[OwnedFd; 2]> = VecDeque::new();
        for number in 0..self.swaps / SWAPS_OF_A_FOLDER {
            let (path, handles) = self.drop_a_folder(number).unwrap();
            held.push_back(handles);
            if held.len() > HELD {
                held.pop_front();
            }
            // Every other folder is left unchanged until it was taken.
            let patience = Instant::now() + Duration::from_secs(20);
            while number % 2 == 1 && path.exists() && Instant::now() < patience {
                self.pause();
            }
            for _ in 0..SWAPS_OF_A_FOLDER {
                self.pause();
                held.iter().flatten().for_each(|folder| self.swap_within(folder, number));
            }
        }
    }

    /// Replaces a file by a link to a secret, or by a file again. If the folder was delivered, there is
    /// nothing to change.
    fn swap_within(&self, folder: &OwnedFd, number: u32) {
        let _ = rustix::fs::symlinkat(self.secrets.join("secret"), folder, ".link");
        let _ = rustix::fs::renameat_with(folder, "bait", folder, ".link", RenameFlags::EXCHANGE);
        if number % 3 == 1 {
            let _ = rustix::fs::unlinkat(folder, ".link", AtFlags::empty());
        }
    }

    /// Drops a folder, and keeps handles of it and of its subfolder.
    fn drop_a_folder(&self, number: u32) -> io::Result<(PathBuf, [OwnedFd; 2])> {
        let coming = self.on.join(format!(".coming{number}"));
        fs::create_dir_all(coming.join("inner"))?;
        for name in ["bait", "inner/bait", "other"] {
            fs::write(coming.join(name), format!("bait {number}"))?;
        }
        let open = |path: &Path| {
            rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        };
        let handles = [open(&coming)?, open(&coming.join("inner"))?];
        let path = self.on.join(format!("folder{number}"));
        fs::rename(&coming, &path)?;
        Ok((path, handles))
    }

    fn swap_results(&mut self) {
        let (folder, link) = (self.on.join("p"), self.on.join(".link"));
        symlink(&self.secrets, &link).unwrap();
        for number in 0..self.swaps {
            let _ = fs::create_dir(&folder);
            let _ = exchange(&folder, &link);
            if number % 2 == 0 {
                self.pause();
            }
        }
        // What is checked afterwards must be folders.
        for path in [folder, link].into_iter().filter(|path| is_link(path)) {
            fs::remove_file(path).unwrap();
        }
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|facts| facts.is_symlink())
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}
