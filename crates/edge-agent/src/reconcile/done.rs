//! The end of a job: what it reached, in the loop's records.

use super::Reconciler;
use crate::execute::{Done, Effect, Failed, Stopped};
use crate::methods;
use crate::observe::Identities;
use crate::plan::Purpose;

impl Reconciler {
    /// Takes note of what a job reached.
    pub(super) fn done(&mut self, done: Done) {
        let (now, wall, timing) = (self.clock.now(), self.clock.wall(), self.timing());
        let Done { module, purpose, aim, target, effects, outcome } = done;
        self.busy.remove(&module);
        self.unseen.insert(module.clone(), self.looks_begun + 1);
        let record = self.records.entry(module.clone()).or_default();
        for effect in effects {
            let identities = self.observation.as_mut().map(|seen| &mut seen.identities);
            match (effect, identities) {
                (Effect::Identity(identity), identities) => {
                    record.kept.owns_identity = true;
                    if let Some(Identities::Known(identities)) = identities {
                        identities.insert(module.clone(), identity);
                    }
                }
                (Effect::IdentityUpdated(identity), identities) => {
                    if let Some(Identities::Known(identities)) = identities {
                        identities.insert(module.clone(), identity);
                    }
                }
                (Effect::IdentityDeleted, identities) => {
                    record.kept.owns_identity = false;
                    if let Some(Identities::Known(identities)) = identities {
                        identities.remove(&module);
                    }
                }
                (Effect::Created(generation), _) => {
                    if let Some(target) = &target {
                        record.created(target, generation);
                    }
                    if purpose != Purpose::Restart {
                        (record.kept.restart_count, record.kept.last_restart) = (0, None);
                    }
                }
                (Effect::Started, _) => {
                    record.started(now);
                    if purpose == Purpose::Restart {
                        record.kept.restart_count = record.kept.restart_count.saturating_add(1);
                        record.kept.last_restart = Some(wall);
                    }
                }
                (Effect::Stopped, _) => record.stopped(),
                (Effect::Removed, _) => record.removed(),
            }
        }
        let answer = match &outcome {
            Ok(()) => Ok(()),
            Err(Stopped::Superseded) => Err("something else was deployed meanwhile".to_owned()),
            Err(Stopped::Failed(failed)) => Err(failed.message.clone()),
        };
        match outcome {
            Ok(()) => {
                record.failure = None;
                if purpose == Purpose::Prepare {
                    record.prepared = target.map(|target| target.digest.clone());
                }
            }
            Err(Stopped::Superseded) => {}
            // A command's failure is told to whoever asked; what is planned goes on.
            Err(Stopped::Failed(..)) if purpose == Purpose::Command => {}
            Err(Stopped::Failed(Failed { message, fault })) => {
                record.failed(aim, (message, fault), now, &timing);
            }
        }
        if let Some(caller) = self.callers.remove(&module) {
            match answer {
                Ok(()) => caller.send(methods::OK, methods::NOTHING),
                Err(message) => caller.send(methods::FAILED, methods::error_body(&message)),
            }
        }
    }
}
