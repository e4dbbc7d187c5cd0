//! MD5 and CRC64 of bodies and ranges: checked when they are given, told when they are asked for.

use super::*;

/// Of `123456789`: the published check value of the CRC, and its MD5.
const CRC64: &str = "iJh5CoYUi64=";
const MD5: &str = "JfnnlDI7RTiF9RgfG2JNCw==";
const BYTES: &str = "123456789";

#[tokio::test]
async fn a_sum_that_is_given_is_checked_and_told_again() {
    let desk = Desk::new().await;
    desk.put("kept", "old").await;
    let calls = [("/acc/box/kept", "BlockBlob"), ("/acc/box/kept?comp=block&blockid=QUFB", "")];
    for (target, kind) in calls {
        for (header, good, code) in
            [("x-ms-content-crc64", CRC64, "Crc64Mismatch"), ("content-md5", MD5, "Md5Mismatch")]
        {
            let headers = |sum| {
                [(header, sum), ("x-ms-blob-type", kind)].into_iter().filter(|(_, value)| !value.is_empty())
            };
            let bad: Vec<_> = headers("AAAAAAAAAAA=").collect();
            let said = desk.own("PUT", target, &bad, BYTES).await;
            assert_eq!((said.status.as_u16(), said.header("x-ms-error-code")), (400, code), "{target}");
            let fine: Vec<_> = headers(good).collect();
            let said = desk.own("PUT", target, &fine, BYTES).await;
            assert_eq!(
                (said.status.as_u16(), said.header(header)),
                (201, good),
                "{target} {header}: {}",
                said.body
            );
        }
    }
    // Without a sum a block is told its CRC64, a blob its MD5.
    let block = desk.own("PUT", "/acc/box/kept?comp=block&blockid=QUFB", &[], BYTES).await;
    assert_eq!((block.header("x-ms-content-crc64"), block.header("content-md5")), (CRC64, ""));
    let blob = desk.own("PUT", "/acc/box/kept", &[("x-ms-blob-type", "BlockBlob")], BYTES).await;
    assert_eq!(blob.header("content-md5"), MD5);
    assert_eq!(desk.own("HEAD", "/acc/box/kept", &[], "").await.header("content-md5"), MD5);
}

#[tokio::test]
async fn the_sum_of_a_range_is_told_of_one_kind() {
    let desk = Desk::new().await;
    desk.put("a", &format!("ab{BYTES}cd")).await;
    let range = ("x-ms-range", "bytes=2-10");
    let (crc64, md5) = (("x-ms-range-get-content-crc64", "true"), ("x-ms-range-get-content-md5", "true"));
    let said = desk.own("GET", "/acc/box/a", &[range, crc64], "").await;
    assert_eq!((said.status.as_u16(), &*said.body, said.header("x-ms-content-crc64")), (206, BYTES, CRC64));
    let said = desk.own("GET", "/acc/box/a", &[range, md5], "").await;
    assert_eq!((&*said.body, said.header("content-md5")), (BYTES, MD5));
    assert_eq!(desk.own("GET", "/acc/box/a", &[range, crc64, md5], "").await.status, 400);
    assert_eq!(desk.own("GET", "/acc/box/a", &[crc64], "").await.status, 400, "only with a range");
}
