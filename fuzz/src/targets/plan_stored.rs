//! Plans and participants as the journal and the catalog keep them: what is read is written the same from then on.

use plan::{Participant, Saga};

pub(crate) fn run(data: &[u8]) {
    if let Ok(saga) = Saga::from_bytes(data) {
        let bytes = saga.to_bytes();
        let again = Saga::from_bytes(&bytes).expect("we wrote it");
        assert_eq!(again, saga);
        assert_eq!(Saga::hash_of(&again.to_bytes()), Saga::hash_of(&bytes));
    }
    if let Ok(participant) = Participant::from_bytes(data) {
        let bytes = participant.to_bytes();
        let again = Participant::from_bytes(&bytes).expect("we wrote it");
        assert_eq!(again, participant);
        assert_eq!(again.to_bytes(), bytes);
    }
}
