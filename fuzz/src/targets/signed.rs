//! Public keys whose private halves nobody has, and all that was ever signed with them: an RSA key and one on P-256 that were
//! thrown away once they had signed a token each of `RS256`, `PS256` and `ES256`.

/// The modulus of `rsa`; its exponent is 65537.
pub(super) const N: &str = "0oQ1d6YHwwpi4XtlStGdBVgSeTOfRqRgwyo7fqDD_s2TzijNmPLA32j1u96kAK1e3IHu7WL0W8WLLZiDg2D0lfyaN4is7r5w2h\
    BdzTCanvDGrQzKGS-bK89opoamYwd7slgokU9g_bCcmdiaRQ_FSSVtxNauK_kEsv1Xe-AphAhOFGhAEqUWfumReeFCvz_4i3JK\
    80tLCifRQnd5Cf5Tc1jkfixMB1ClPYqagQDkn8IKEK-tlLnhwPsrl1RV4NWnAuF0uGSH2KWAvAutrT9qb5KV4xirurcVK6dF4E\
    lqRturyTXQjxXDE2rXOB6HmpGqp1YEto3t36RLhxLYH-iQmQ";

/// The point of `ec`.
pub(super) const X: &str = "lzF-KWiNIFvre6v7Fqknfa-p2soV2kJPpDmJS6dhVBw";

/// Its other coordinate.
pub(super) const Y: &str = "INou7ohT0OjdoPG51XX6Nqz-H7M06wqpfVyoQ0ZKnxs";

/// A token that `rsa` signed.
pub(super) const RS256: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwic\
    3ViIjoiYm90IiwiY2xpZW50X2lkIjoiYyIsImF1ZCI6WyJodHRwczovL2EuZXhhbXBsZSIsImIiXSwiZXhwIjoyMDAwMDAwMDA\
    wLCJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiYXV0aF90aW1lIjoxNjkwMDAwMDAwfQ.lGAjN5QPZCJjjx58sn\
    W70rgk-6NTq3QG9z8kZwJwiBcQuHE0EYFDbnDdn9sG67xCXnz5ySqyD29XceICPofUdXN-nf4jnJ9VP_i4FqnFzl_VjPwqvWYK\
    pLXlRbqDoxLZEnzW-lOU6p4EgS9xhPy4ErvUsd8YUL7bRzJG-44A_3tt9s6owi48jOH-v3lNmDMDJOJICkJROUHYvsr-lbHiVT\
    -orMM958G9E5TDGS3QvZ6S1m5-8IP3SiohIfhRl-mBR6Wixt1Yp_1XkwKnAiVLhxkXMCdL7tK4-WAlqVjCF43oJrtJPBRIlAeK\
    gr6J7gePMvH37x2brt1ewO1ROFaEzw";

/// The same otherwise signed.
pub(super) const PS256: &str = "eyJhbGciOiJQUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwic\
    3ViIjoiYm90IiwiY2xpZW50X2lkIjoiYyIsImF1ZCI6WyJodHRwczovL2EuZXhhbXBsZSIsImIiXSwiZXhwIjoyMDAwMDAwMDA\
    wLCJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiYXV0aF90aW1lIjoxNjkwMDAwMDAwfQ.XErvI1tCi15JFw-qSZ\
    xXKnt1CceagIY8olS4eW4fpB_-RdwL-_FhQCx4og8OIBpl5Lif8q4_s4tVq1Q-j4K50mLgD1z3ebVbIgSNYY5jsyiwQqaq7LjT\
    JF0XnNrXF-ZPSNG3RFFaqws6WzowKaGngnwr6-QQX1xSPkod_JiiwcAGRJ5ZeIt8CMMyYSyIaM4OpiXGJcfTVaRV-l7XQ3JYvi\
    QUwieKtw7HPEsjzwJGtSrlWTRDfGg6BROY3QC7okgXEHnddp0hTg8byJh0ADER2vRHXkJWHuOYEWIKZxtoN8ip79wrW_w7FsNY\
    yrINBP2WlMI2on8I0YPGvJ9jaf4BWw";

/// A token that `ec` signed.
pub(super) const ES256: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImVjIn0.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwic3\
    ViIjoiYm90IiwiY2xpZW50X2lkIjoiYyIsImF1ZCI6WyJodHRwczovL2EuZXhhbXBsZSIsImIiXSwiZXhwIjoyMDAwMDAwMDAw\
    LCJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiYXV0aF90aW1lIjoxNjkwMDAwMDAwfQ.OIiSRmOgHDb8TsBuhVM\
    umjlpNpMiN5tfiW2rOBghB5pa08xVIJfrlrjaUyTSTxxsnmVAP3ACqLm7cBMK2MktWA";
