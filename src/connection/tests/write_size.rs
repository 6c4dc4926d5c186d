//! How long the writes of an upload are, from the settings to its file.

use std::cell::Cell;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

use super::client::Client;
use super::world::{Plan, run};
use crate::protocol::file::HashAlgorithm;
use crate::protocol::policy::WriteSize;
use crate::protocol::session::Mode;
use crate::runtime::spawn;

/// How long storage takes for each write.
const STORAGE: Duration = Duration::from_millis(50);

/// An upload has the length that `storage.write_size` had when it began, and the next one that of
/// the reload in between.
#[test]
fn an_upload_keeps_its_write_size() {
    run(Plan { seed: 1, ..Plan::default() }, |world| async move {
        let mut client = Client::connect(&world, Mode::Explicit, None);
        client.log_in(Mode::Explicit, false).await.unwrap();
        let content = vec![5; 6 << 20];
        let mut longest = Vec::new();
        let set = |size| {
            world.reload(None, |settings| {
                settings.policy.write_size = size;
                // Written by helper threads on every file system.
                settings.policy.hash_uploads = Some(HashAlgorithm::Sha256).into_iter().collect();
            });
        };
        set(WriteSize::Kib512);
        for next in [WriteSize::Mib2, WriteSize::Mib1, WriteSize::Kib256] {
            let mut data = client.data(None).await.unwrap();
            client.send("STOU").await.unwrap();
            assert_eq!(client.reply().await, Ok(150), "{}", client.last);
            set(next);
            world.simulation.change(|weather| (weather.stuck_one_in, weather.stuck) = (1, STORAGE));
            let most = Rc::new(Cell::new(0));
            let looking = spawn({
                let (world, most) = (world.clone(), most.clone());
                async move {
                    let mut stored = 0;
                    loop {
                        let entries = fs::read_dir(world.path("")).unwrap().map(Result::unwrap);
                        // STOU: what grows has a hidden name.
                        let growing = entries.filter(|entry| {
                            entry.file_name().to_string_lossy().starts_with(".ringftpd-")
                        });
                        let length = growing.map(|entry| entry.metadata().unwrap().len()).max();
                        let length = length.unwrap_or(stored);
                        most.set(most.get().max(length - stored));
                        stored = length;
                        world.pause(STORAGE / 10).await;
                    }
                }
            });
            client.send_to(&mut data, &content).await.unwrap();
            data.end().await.unwrap();
            drop(data);
            assert_eq!(client.final_reply().await, Ok(226), "{}", client.last);
            looking.cancel().await;
            longest.push(most.get() >> 10);
        }
        assert_eq!(longest, [512, 2048, 1024]);
        client.quit().await.unwrap();
    });
}
