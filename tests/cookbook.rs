//! Carries out each run file of `docs/cookbook.md` with small inputs. Scripts stand in for large programs.
#![allow(clippy::unwrap_used)]

mod common;

use common::Desk;
use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

/// A recipe and what it is carried out with.
struct Recipe {
    file: &'static str,
    inputs: &'static [(&'static str, &'static str)],
    /// Programs by name, as shell scripts.
    programs: &'static [(&'static str, &'static str)],
    /// Result files and their contents.
    expected: &'static [(&'static str, &'static str)],
    /// Number of tasks that succeed.
    tasks: u64,
}

/// Writes its arguments, and the names of the files beside it, to the file behind an option or at a place.
const LIST: &str = "for last in \"$@\"; do :; done; { echo \"$*\"; ls; } > \"$last\"\n";

const RECIPES: &[Recipe] = &[
    Recipe {
        file: "reads.toml",
        inputs: &[
            ("reads/a_R1.fastq.gz", "1"),
            ("reads/a_R2.fastq.gz", "2"),
            ("reads/b_R1.fastq.gz", "3"),
            ("reads/b_R2.fastq.gz", "4"),
            ("ref/genome.fa", "G"),
        ],
        programs: &[("minimap2", "[ \"$6\" = -o ] && cat \"$8\" \"$9\" \"${10}\" > \"$7\"\n")],
        expected: &[("out/a/a.sam", "G12"), ("out/b/b.sam", "G34")],
        tasks: 2,
    },
    Recipe {
        file: "maps.toml",
        inputs: &[
            ("maps/town.shp", ""),
            ("maps/town.shx", ""),
            ("maps/town.dbf", ""),
            ("maps/town.prj", ""),
            ("maps/sea/LAKE.SHP", ""),
            ("maps/sea/LAKE.shx", ""),
            ("maps/sea/LAKE.dbf", ""),
        ],
        programs: &[("ogr2ogr", "ls > list; mv list \"$5\"\n")],
        expected: &[
            ("out/maps/town.shp/town.geojson", "list\ntown.dbf\ntown.prj\ntown.shp\ntown.shx\n"),
            ("out/maps/sea/LAKE.SHP/LAKE.geojson", "LAKE.SHP\nLAKE.dbf\nLAKE.shx\nlist\n"),
        ],
        tasks: 2,
    },
    Recipe {
        file: "documents.toml",
        inputs: &[("guide.md", "![](img/a/b.png)"), ("notes.md", "n"), ("img/a/b.png", "B")],
        programs: &[("pandoc", "cat \"$1\" img/a/b.png > \"$3\"\n")],
        expected: &[("out/guide.md/guide.docx", "![](img/a/b.png)B"), ("out/notes.md/notes.docx", "nB")],
        tasks: 2,
    },
    Recipe {
        file: "photos.toml",
        inputs: &[("photos/IMG_1.JPG", "j"), ("photos/trip/a b.png", "p"), ("photos/private/x.jpg", "x")],
        programs: &[("convert", LIST)],
        expected: &[
            (
                "out/photos/IMG_1.JPG/IMG_1.preview.png",
                "IMG_1.JPG -auto-orient -resize 320x320> -strip IMG_1.preview.png\nIMG_1.JPG\nIMG_1.preview.png\n",
            ),
            (
                "out/photos/trip/a b.png/a b.preview.png",
                "a b.png -auto-orient -resize 320x320> -strip a b.preview.png\na b.png\na b.preview.png\n",
            ),
        ],
        tasks: 2,
    },
    Recipe {
        file: "scans.toml",
        inputs: &[("scans/1.png", "one"), ("scans/2.tif", "two")],
        programs: &[("tesseract", "{ cat \"$1\"; echo \" $OMP_THREAD_LIMIT $3 $4\"; } > \"$2.$5\"\n")],
        expected: &[("out/scans/1.png/1.txt", "one 1 -l eng\n"), ("out/scans/2.tif/2.txt", "two 1 -l eng\n")],
        tasks: 2,
    },
    Recipe {
        file: "films.toml",
        inputs: &[("films/short.mov", "s"), ("films/long.mkv", "long")],
        programs: &[("ffmpeg", "for last in \"$@\"; do :; done; cat \"$5\" > \"$last\"\n")],
        expected: &[("out/films/long.mkv/long.mp4", "long"), ("out/films/short.mov/short.mp4", "s")],
        tasks: 2,
    },
    Recipe {
        file: "study.toml",
        inputs: &[("simulate.py", "echo \"$2 $4\" > \"$6\"\n")],
        programs: &[("python3", "exec /bin/sh \"$@\"\n")],
        expected: &[
            ("out/rate=0.10,seed=1/estimate.txt", "0.10 1\n"),
            ("out/rate=0.25,seed=3/estimate.txt", "0.25 3\n"),
        ],
        tasks: 6,
    },
    Recipe {
        file: "samples.toml",
        inputs: &[
            (
                "samples.csv",
                "\u{feff}Sample ID,bam,quality\r\n\"A, first\",bam/a.bam,20\r\n$(touch evil),bam/b.bam,30\r\n",
            ),
            ("bam/a.bam", "aa"),
            ("bam/b.bam", "bb"),
        ],
        programs: &[("samtools", "{ cat \"$7\"; echo \" $4\"; ls; } > \"$6\"\n")],
        expected: &[
            ("out/A, first/A, first.count", "aa 20\nA, first.count\na.bam\n"),
            ("out/$(touch evil)/$(touch evil).count", "bb 30\n$(touch evil).count\nb.bam\n"),
        ],
        tasks: 2,
    },
    Recipe {
        file: "logs.toml",
        inputs: &[(
            "logs/mon.log.gz",
            "h - - [d z] \"GET / p\" 200 1\nh - - [d z] \"GET / p\" 404 1\nh - - [d z] \"GET / p\" 200 1\n",
        )],
        programs: &[("zcat", "exec cat \"$@\"\n")],
        expected: &[("out/logs/mon.log.gz/status.txt", "2 200\n1 404\n")],
        tasks: 1,
    },
    Recipe {
        file: "speech.toml",
        inputs: &[("recordings/a.flac", "a"), ("recordings/x/b.mp3", "b")],
        programs: &[("sox", "cat \"$1\" > \"$6\"; echo \" $3 $5 $7\" >> \"$6\"\n")],
        expected: &[("prepared/a.wav", "a 16000 1 norm\n"), ("prepared/b.wav", "b 16000 1 norm\n")],
        tasks: 2,
    },
    Recipe {
        file: "frames.toml",
        inputs: &[("scenes/hall.blend", "hall")],
        // A frame fails at its first attempt.
        programs: &[(
            "blender",
            "case $AZ_BATCH_TASK_ID in *-2) ;; *) [ \"$6\" != 2 ] || exit 9;; esac; cat \"$2\" > \"frame_000$6.png\"\n",
        )],
        expected: &[
            ("out/scenes/hall.blend/frame=1/frame_0001.png", "hall"),
            ("out/scenes/hall.blend/frame=2/frame_0002.png", "hall"),
            ("out/scenes/hall.blend/frame=3/frame_0003.png", "hall"),
        ],
        tasks: 3,
    },
    Recipe {
        file: "downloads.toml",
        inputs: &[("addresses.txt", "https://a.example/x?y=1&z=$(id)\n\nhttps://b.example/\n")],
        programs: &[("curl", "[ \"$5\" = --output ] && printf %s \"$7\" > \"$6\"\n")],
        expected: &[("out/0/page", "https://a.example/x?y=1&z=$(id)"), ("out/1/page", "https://b.example/")],
        tasks: 2,
    },
    Recipe {
        file: "inference.toml",
        inputs: &[("images/a.jpg", "a"), ("infer.py", "i"), ("model/weights.bin", "w")],
        programs: &[(
            "python3",
            "[ \"$2\" = --model ] && cat \"$1\" \"$3\" \"$4\" && echo \" $CUDA_VISIBLE_DEVICES\"\n",
        )],
        expected: &[("out/images/a.jpg/labels.json", "iwa 0\n")],
        tasks: 1,
    },
];

/// The TOML blocks of a page, by the name in their first line, without that line.
fn blocks(page: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("\n```toml\n").skip(1).map(|block| block.split("```\n").next().unwrap());
    let named = blocks.filter_map(|block| {
        let (first, rest) = block.split_once('\n')?;
        Some((first.strip_prefix("# ")?.to_owned(), rest.to_owned()))
    });
    named.collect()
}

fn carry_out(recipe: &Recipe, text: &str) {
    let desk = Desk::new();
    let name = recipe.file;
    desk.write(name, text);
    for (path, content) in recipe.inputs {
        desk.write(path, content);
    }
    for (program, script) in recipe.programs {
        let path = format!("programs/{program}");
        desk.write(&path, format!("#!/bin/sh\nset -e\n{script}"));
        fs::set_permissions(desk.path(&path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("task.env.PATH='{}:/usr/bin:/bin'", desk.path("programs").display());
    let plan = desk.output(&["plan", name, "--set", &path]);
    assert!(plan.status.success(), "{name}: {}", String::from_utf8_lossy(&plan.stderr));
    assert_eq!(String::from_utf8_lossy(&plan.stderr), "", "{name}: warnings");
    let said = desk.run_with(&["run", name, "--set", &path, "--json"]);
    said.exited(0);
    assert_eq!(said.report["tasks"]["succeeded"], recipe.tasks, "{name}");
    for (file, content) in recipe.expected {
        assert_eq!(desk.read(file), *content, "{name}: {file}");
    }
}

#[test]
fn every_recipe_of_the_cookbook_works() {
    let blocks = blocks("docs/cookbook.md");
    assert!(blocks.len() >= 13, "the page promises thirteen jobs");
    let tested: Vec<_> = RECIPES.iter().map(|recipe| recipe.file).collect();
    for name in blocks.keys() {
        assert!(tested.contains(&name.as_str()), "{name} is not carried out");
    }
    for recipe in RECIPES {
        let text =
            blocks.get(recipe.file).unwrap_or_else(|| panic!("{} is not in the cookbook", recipe.file));
        carry_out(recipe, text);
    }
}

#[test]
fn the_readme_shows_recipes_of_the_cookbook_as_they_are() {
    let blocks = blocks("docs/cookbook.md");
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for name in ["logs.toml", "reads.toml"] {
        assert!(readme.contains(&format!("```toml\n{}```", blocks[name])), "README.md shows another {name}");
    }
}
