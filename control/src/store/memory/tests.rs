use super::*;

fn names(list: &[&str]) -> BTreeMap<String, Option<Ipv4Addr>> {
    list.iter().map(|name| ((*name).to_owned(), None)).collect()
}

#[tokio::test]
async fn addresses_are_remembered_over_restarts_where_there_is_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let first = Memory::open(Some(&state)).vips(VipRange::DEFAULT, &names(&["a.test", "b.test"])).unwrap();
    // b vanishes; c, which comes, must not get its address.
    let again = Memory::open(Some(&state));
    let second = again.vips(VipRange::DEFAULT, &names(&["a.test", "c.test"])).unwrap();
    assert_eq!(second["a.test"], first["a.test"]);
    assert!(!first.values().any(|vip| *vip == second["c.test"]));
    let third = again.vips(VipRange::DEFAULT, &names(&["a.test", "b.test", "c.test"])).unwrap();
    assert_eq!((third["b.test"], third["c.test"]), (first["b.test"], second["c.test"]));
    // No half-written file is left.
    let files: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["vips.json"]);
}

#[tokio::test]
async fn a_damaged_record_is_begun_anew_and_no_folder_needs_none() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vips.json"), "{").unwrap();
    let given = Memory::open(Some(folder.path())).vips(VipRange::DEFAULT, &names(&["a.test"])).unwrap();
    assert_eq!(given, Memory::open(None).vips(VipRange::DEFAULT, &names(&["a.test"])).unwrap());
    let read: Record = serde_json::from_slice(&fs::read(folder.path().join("vips.json")).unwrap()).unwrap();
    assert_eq!(read["a.test"].vip, given["a.test"]);
}

#[tokio::test]
async fn a_range_that_is_full_is_an_error_in_words() {
    let memory = Memory::open(None);
    let range: VipRange = "127.1.0.0/30".parse().unwrap();
    let why = memory.vips(range, &names(&["a", "b", "c"])).unwrap_err();
    assert!(why.contains("full"), "{why}");
    // It has changed nothing.
    assert_eq!(memory.vips(range, &names(&["a", "b"])).unwrap().len(), 2);
}
