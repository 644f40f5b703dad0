//! What cbfit is linked with: nothing that could reach a network.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

use std::collections::{BTreeMap, BTreeSet};

/// Crates that open sockets, resolve names or speak a protocol of the network.
const NETWORK: [&str; 30] = [
    "async-std",
    "attohttpc",
    "aws-config",
    "curl",
    "curl-sys",
    "ftp",
    "h2",
    "h3",
    "hickory-resolver",
    "hyper",
    "isahc",
    "mio",
    "native-tls",
    "object_store",
    "openssl",
    "openssl-sys",
    "quinn",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "ssh2",
    "surf",
    "tokio",
    "trust-dns-resolver",
    "tungstenite",
    "ureq",
    "webpki",
    "websocket",
    "zmq",
];

/// The packages of the lock file that the sections `[dependencies]` and `[target.*.dependencies]` of Cargo.toml lead to.
fn linked() -> BTreeSet<String> {
    let root = env!("CARGO_MANIFEST_DIR");
    // In a package that cargo has made, Cargo.toml is written anew, and the one of the repository stands beside it.
    let manifest = std::fs::read_to_string(format!("{root}/Cargo.toml.orig"))
        .or_else(|_| std::fs::read_to_string(format!("{root}/Cargo.toml")))
        .unwrap();
    let lock = std::fs::read_to_string(format!("{root}/Cargo.lock")).unwrap();
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = package.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"');
        let list =
            package.split_once("dependencies = [").map_or("", |(_, list)| list.split(']').next().unwrap());
        let of = list
            .lines()
            .filter_map(|line| line.trim().strip_prefix('"'))
            .filter_map(|line| line.split(['"', ' ']).next());
        needs.entry(name).or_default().extend(of);
    }
    let mut section = "";
    let mut open: Vec<&str> = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]"
            || (section.starts_with("[target.") && section.ends_with(".dependencies]"))
        {
            open.extend(line.split_once(" = ").map(|(name, _)| name).filter(|name| !name.starts_with('#')));
        }
    }
    let mut found = BTreeSet::new();
    while let Some(name) = open.pop() {
        if found.insert(name.to_owned()) {
            open.extend(needs.get(name).unwrap_or_else(|| panic!("{name} is not in Cargo.lock")));
        }
    }
    found
}

#[test]
fn no_network_code_is_linked() {
    let linked = linked();
    assert!(linked.contains("parquet") && linked.contains("libc") && !linked.contains("linfa"), "{linked:?}");
    let network: Vec<&str> = NETWORK.into_iter().filter(|name| linked.contains(*name)).collect();
    assert!(network.is_empty(), "{network:?}");
}

#[test]
fn nothing_in_the_sources_opens_a_socket_or_starts_a_program() {
    let mut open = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut read = 0;
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            // The pair by which a signal wakes a thread of the same process is no socket to elsewhere.
            let text = std::fs::read_to_string(&path).unwrap();
            let text =
                text.replace("use std::os::unix::net::UnixStream;", "").replace("UnixStream::pair()", "");
            for word in ["std::net", "TcpStream", "UdpSocket", "UnixStream", "process::Command"] {
                assert!(!text.contains(word), "{word} in {}", path.display());
            }
            read += 1;
        }
    }
    assert!(read > 200, "{read} files");
}
