use super::*;

fn remote(text: &str) -> Result<Remote, String> {
    match Location::parse(text.as_ref()) {
        Ok(Location::Elsewhere(remote)) => Ok(remote),
        Ok(Location::Here(path)) => Err(format!("{}", path.display())),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn places_are_read_as_they_are_meant() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (text, origin) in [
        ("https://bundles.example/team/payments.bundle", "https://bundles.example:443"),
        ("https://bundles.example:8443/payments.bundle?v=3", "https://bundles.example:8443"),
        ("https://[::1]/payments.bundle", "https://[::1]:443"),
        ("http://127.0.0.1:8080/payments.bundle", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/payments.bundle", "http://[::1]:8080"),
        ("oci://registry.example/policies/payments:v3", "https://registry.example:443"),
        ("oci://127.0.0.1:5000/payments:v3", "http://127.0.0.1:5000"),
        ("oci://localhost:5000/payments:v3", "https://localhost:5000"),
        (&format!("oci://registry.example/payments@{digest}"), "https://registry.example:443"),
    ] {
        assert_eq!(remote(text).unwrap().origin(), origin, "{text}");
    }
    for path in ["payments", "./a.bundle", "/srv/payments.bundle", "https:/x", "C:payments"] {
        assert_eq!(Location::parse(path.as_ref()), Ok(Location::Here(path.into())));
    }
    let What::Artifact { repository, reference } = remote("oci://r.example/a/b-c:1.2").unwrap().what else {
        panic!("an artifact")
    };
    assert_eq!((repository.as_str(), reference), ("a/b-c", Reference::Tag("1.2".into())));
}

/// A query can be a key, such as a signature over the URL of a file in a bucket.
#[test]
fn a_key_in_a_places_query_was_told_to_whoever_asked() {
    let place = "https://bundles.example/a.bundle";
    let keyed = remote(&format!("{place}?key=secret")).unwrap();
    assert_eq!(keyed.named(), place);
    assert!(
        matches!(keyed.what, What::File(path) if path == "/a.bundle?key=secret"),
        "it is asked for with it"
    );
    let wrong = remote(&format!("{place} ?key=secret")).unwrap_err();
    assert!(wrong.contains("a.bundle") && !wrong.contains("secret"), "{wrong}");
}

#[test]
fn what_names_no_place_or_leads_elsewhere_is_refused() {
    for text in [
        "http://bundles.example/a.bundle",
        "http://127.0.0.1/a.bundle",
        "http://localhost:80/a.bundle",
        "ftp://bundles.example/a.bundle",
        "file:///etc/passwd",
        "https://",
        "https:///a.bundle",
        "https://bundles.example",
        "https://bundles.example/",
        "https://user:pass@bundles.example/a.bundle",
        "https://bundles.example/a b",
        "https://bundles.example/a\r\nx-header: 1",
        "https://bundles.example/a#b",
        "oci://registry.example/payments",
        "oci://registry.example/:v1",
        "oci://registry.example/../v2/x:v1",
        "oci://registry.example/a/../b:v1",
        "oci://registry.example/Payments:v1",
        "oci://registry.example/payments:v1/x",
        "oci://registry.example/payments:.v1",
        "oci://registry.example/payments@sha256:00",
        "oci://registry.example/payments@sha512:00",
    ] {
        remote(text).unwrap_err();
        assert!(Location::parse(text.as_ref()).is_err(), "{text}");
    }
    assert!(remote(&format!("https://bundles.example/{}", "a".repeat(1024))).is_err());
}
