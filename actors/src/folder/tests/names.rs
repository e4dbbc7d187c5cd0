//! Tests names and depths: bytes that are not UTF-8, 255 bytes, paths longer than the kernel's limit.

use super::*;

#[test]
fn names_are_bytes_and_may_have_as_many_as_the_file_system_allows() {
    with_each_lookup(|_, folder| {
        let long = "n".repeat(255);
        let long_unicode = "ü".repeat(127);
        for name in [&b"a\xff\xfeb"[..], b"a\nb", b"\x1b[31m", long.as_bytes(), long_unicode.as_bytes(), b"-"]
        {
            let name = OsStr::from_bytes(name);
            folder.write_new(name, b"1", 0o600).unwrap();
            assert_eq!(names(&folder), [name]);
            assert_eq!(text(folder.open_file(name).unwrap().0), "1");
            let inner = folder.create_folder("inner", 0o700).unwrap();
            folder.rename_new(name, &inner, name).unwrap();
            let (tree, relative) = (folder.tree("inner").unwrap(), Path::new("inner").join(name));
            assert_eq!(tree.files()[0].relative, Path::new(name));
            folder.copy("inner", &folder, "copy").unwrap();
            assert_eq!(folder.read(relative, 10).unwrap(), b"1");
            assert!(folder.remove("inner").unwrap() && folder.remove("copy").unwrap());
        }
        let too_long = folder.create_file("n".repeat(256), 0o600).unwrap_err();
        assert!(!too_long.is_gone() && !too_long.is_taken(), "{too_long}");
        assert!(folder.folder("n".repeat(9000)).is_err());
        assert!(folder.facts("a\0b").is_err());
    });
}

/// Creates nested folders, each relative to the one before.
fn build(folder: &Folder, name: &str, levels: usize) -> PathBuf {
    let mut path = PathBuf::new();
    let mut at = folder.clone();
    for _ in 0..levels {
        at = at.create_folder(name, 0o700).unwrap();
        path.push(name);
    }
    path
}

#[test]
fn paths_may_be_longer_than_the_kernel_takes() {
    with_each_lookup(|root, folder| {
        let deepest = build(&folder, &"n".repeat(255), 40);
        assert!(deepest.as_os_str().len() > 2 * 4096);
        assert!(fs::metadata(root.join(&deepest)).is_err(), "no path of the whole length is taken");
        let file = deepest.join("file");
        folder.write_new(&file, b"deep", 0o600).unwrap();
        assert_eq!(text(folder.open_file(&file).unwrap().0), "deep");
        assert_eq!(folder.facts(&file).unwrap().size_bytes, 4);
        folder.sync_parent_of(&file).unwrap();
        let tree = folder.tree("").unwrap();
        assert_eq!(tree.files().len(), 1);
        let (found, opened) = tree.read().next().unwrap().unwrap();
        assert_eq!((found.relative.as_path(), text(opened)), (file.as_path(), "deep".into()));
        let top = "n".repeat(255);
        folder.copy(&top, &folder, "copy").unwrap();
        assert_eq!(folder.tree("copy").unwrap().look().size_bytes, 4);
        folder.rename_new(&file, &folder, "up").unwrap();
        folder.exchange("up", &folder, deepest.join("../up").as_path()).unwrap_err();
        folder.rename_new("up", &folder, &file).unwrap();
        assert!(folder.remove("copy").unwrap() && folder.remove(&top).unwrap());
        assert!(names(&folder).is_empty());
    });
}

#[test]
fn a_link_far_down_is_not_followed_either() {
    with_each_lookup(|root, folder| {
        let deepest = build(&folder, &"n".repeat(255), 20);
        let outside = root.parent().unwrap().join("outside");
        rustix::fs::symlinkat(&outside, &folder.folder(&deepest).unwrap().handle, "link").unwrap();
        let secret = deepest.join("link/secret");
        assert!(folder.open_file(&secret).is_err());
        assert!(folder.remove(&secret).is_err());
        assert!(folder.remove("n".repeat(255)).unwrap());
    });
}

#[test]
fn a_very_deep_tree_is_not_an_input_and_can_be_removed() {
    let outer = TempDir::new().unwrap();
    let folder = Folder::open(outer.path()).unwrap();
    build(&folder, "d", 256);
    assert_eq!(folder.tree("").unwrap().files().len(), 0);
    build(&folder.folder("d").unwrap(), "e", 256);
    let refused = folder.tree("").unwrap_err();
    assert_eq!(refused.to_string(), "it contains d, which is nested deeper than 256 folders");
    // More than this process may have open at once.
    build(&folder, "f", 1100);
    assert!(folder.remove("d").unwrap() && folder.remove("f").unwrap());
    assert!(names(&folder).is_empty());
}
