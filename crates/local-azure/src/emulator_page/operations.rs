//! Remarks on operations that differ from Azure.

use crate::batch_http::operations::operations;

/// Operations with remarks; all others behave as on Azure.
const REMARKS: &[(&str, &str)] = &[
    ("GET applications", "those that `serve --application` declares"),
    ("GET poolusagemetrics", "core hours of half hours; reported at once, also for the current one"),
    ("GET supportedimages", "some images of Linux, all of them this machine; a pool may name any other"),
    ("PATCH pools/{p}", "as Azure; task slots only while there are no nodes"),
    ("POST pools/{p}/resize", "as Azure, with all four `nodeDeallocationOption` and `resizeTimeout`"),
    ("POST pools/{p}/enableautoscale", "as Azure, at most once in 30 seconds"),
    ("GET pools/{p}/nodes", "as Azure; every node has the address 127.0.0.1"),
    ("POST pools/{p}/nodes/{n}/reboot", "its start task runs again; folders stay"),
    ("POST pools/{p}/nodes/{n}/reimage", "its folders are made anew"),
    ("POST pools/{p}/nodes/{n}/users", "kept (no password) and without effect: nobody logs in"),
    ("PUT pools/{p}/nodes/{n}/users/{u}", "likewise"),
    ("DELETE pools/{p}/nodes/{n}/users/{u}", "likewise"),
    ("GET pools/{p}/nodes/{n}/remoteloginsettings", "127.0.0.1, port 22"),
    (
        "POST pools/{p}/nodes/{n}/uploadbatchservicelogs",
        "one file: what happened on the node since the service began, up to 400 lines",
    ),
    ("GET pools/{p}/nodes/{n}/extensions", "those its pool names; nothing is installed for them"),
    ("GET pools/{p}/nodes/{n}/extensions/{e}", "likewise"),
    ("DELETE jobs/{j}", "as Azure; `force` changes nothing, because nodes here always answer"),
    ("POST jobs/{j}/enable", "as Azure; `enabling` is never seen"),
    ("POST jobs/{j}/terminate", "as Azure; `force` as with DELETE"),
    ("GET jobs/{j}/taskcounts", "exact at once"),
    ("GET jobs/{j}/tasks", "as Azure; a filter on `state` costs what it returns"),
    ("GET jobs/{j}/tasks/{t}/files/{path}", "as Azure, with `ocp-range`"),
];

/// Returns a table of the remarks on some operations, and a list of those that behave as on Azure.
pub fn table(wanted: impl Fn(&str) -> bool) -> String {
    let (mut rows, mut others) = (String::new(), vec![]);
    for (method, path, _) in operations().filter(|(_, path, _)| wanted(path)) {
        let name = format!("{method} {path}");
        match REMARKS.iter().find(|(operation, _)| *operation == name) {
            Some((_, remark)) => rows.push_str(&format!("| `{method} /{path}` | {remark} |\n")),
            None => others.push(format!("`{method} /{path}`")),
        }
    }
    let rest = format!("As Azure: {}.\n", others.join(", "));
    if rows.is_empty() { rest } else { format!("| operation | here |\n|---|---|\n{rows}\n{rest}") }
}

/// Returns remarks whose operation does not exist.
pub fn faults() -> Vec<&'static str> {
    let names: Vec<_> = operations().map(|(method, path, _)| format!("{method} {path}")).collect();
    let remarks = REMARKS.iter().map(|(operation, _)| *operation);
    remarks.filter(|operation| !names.iter().any(|name| name == operation)).collect()
}
