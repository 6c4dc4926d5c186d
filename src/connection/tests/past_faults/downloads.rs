//! Downloads that are heard, slow, forged or cut short.

use std::time::Duration;

use super::{CONTENT, each, put_big};

/// What is shorter than it was is no success.
#[test]
fn a_file_that_shrinks_while_it_is_sent() {
    each(async |world, mut client| {
        world.put("big", &vec![3; 8_000_000]);
        let mut data = client.begin("RETR big").await.unwrap();
        assert!(data.receive().await.unwrap().is_some());
        let file = std::fs::File::options().write(true).open(world.path("big")).unwrap();
        file.set_len(1_000).unwrap();
        while matches!(data.receive().await, Ok(Some(_))) {}
        drop(data);
        assert_eq!(client.final_reply().await, Ok(451), "{}", client.last);
        client.quit().await.unwrap();
    });
}

/// [RFC 8446 §4.6.3] A protected download hears its client: keys are renewed on the way, and again
/// when the server has sent all and the client has not read it.
#[test]
fn keys_are_renewed_while_a_download_goes_on() {
    each(async |world, mut client| {
        if !client.is_private() || world.is_tls12() {
            return;
        }
        put_big(&world);
        let mut data = client.begin("RETR big").await.unwrap();
        let (mut octets, mut due) = (0, 0);
        while let Some(more) = data.receive().await.unwrap() {
            octets += more.len();
            if octets >= due {
                data.update_keys().await.unwrap();
                due += 200_000;
            }
        }
        assert_eq!(octets, 2_000_000);
        assert!(data.key_updates >= 2, "{} answers", data.key_updates);
        data.end().await.unwrap();
        assert_eq!(client.final_reply().await, Ok(226), "{}", client.last);
        world.put("small", CONTENT);
        let mut data = client.begin("RETR small").await.unwrap();
        assert_eq!(client.final_reply().await, Ok(226), "{}", client.last);
        for _ in 0..2 {
            world.pause(Duration::from_secs(4)).await;
            data.update_keys().await.unwrap();
        }
        let mut octets = Vec::new();
        while let Some(more) = data.receive().await.unwrap() {
            octets.extend(more);
        }
        assert_eq!(octets, CONTENT);
        client.quit().await.unwrap();
    });
}

/// [RFC 8446 §5.2] A record that does not authenticate ends a download with 426.
#[test]
fn a_forged_record_ends_a_download() {
    each(async |world, mut client| {
        if !client.is_private() {
            return;
        }
        put_big(&world);
        let mut data = client.begin("RETR big").await.unwrap();
        assert!(data.receive().await.unwrap().is_some());
        data.forge().await.unwrap();
        while matches!(data.receive().await, Ok(Some(_))) {}
        assert_eq!(client.final_reply().await, Ok(426), "{}", client.last);
        client.quit().await.unwrap();
    });
}

/// A line that ends in CR LF is sent as it is in TYPE A, and SIZE agrees.
#[test]
fn lines_that_end_in_cr_lf() {
    each(async |world, mut client| {
        world.put("text", b"dos\r\nunix\nlone\rcr");
        client.say("TYPE A", 200).await.unwrap();
        let expected = b"dos\r\nunix\r\nlone\rcr";
        assert_eq!(client.ask("SIZE text").await, Ok(213));
        assert_eq!(client.last.trim_end(), format!("213 {}", expected.len()));
        let download = client.retrieve("RETR text", None).await.unwrap();
        assert_eq!((download.code, &download.octets[..]), (226, &expected[..]));
        client.quit().await.unwrap();
    });
}
