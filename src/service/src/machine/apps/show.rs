//! What `status` shows of apps.

use super::super::Machine;
use super::memory::AppMemory;
use crate::app::Side;
use crate::view::{AppRun, AppView, SwapView, View};

impl Machine {
    /// All apps by name, as they are now.
    #[must_use]
    pub fn apps(&self) -> Vec<AppView> {
        self.apps.iter().filter_map(|(name, state)| self.app_view(name, &state.memory)).collect()
    }

    fn app_view(&self, name: &str, memory: &AppMemory) -> Option<AppView> {
        let definition = self.loaded.apps.get(name);
        let run = |side: Side| {
            let key = side.key(name);
            let view = self.units.get(&key).map(|unit| self.view(&key, unit));
            let closure = memory.closures[side.index()].clone();
            let port = definition.and_then(|app| app.port(side));
            view.map(|view| AppRun { side, closure, port, view })
        };
        let swap = memory.swap.as_ref();
        Some(AppView {
            name: name.to_owned(),
            serving: run(memory.serving)?,
            candidate: swap
                .filter(|swap| swap.strategy.has_two_sides())
                .and_then(|swap| run(swap.side)),
            swap: swap.map(|swap| SwapView {
                id: swap.id.clone(),
                phase: swap.step.phase(),
                closure: memory.candidate_closure().unwrap_or_default().to_owned(),
            }),
        })
    }

    /// The view of an app among services: its face under the app's name.
    pub(in crate::machine) fn face_views(&self) -> Vec<View> {
        let face = |name: &String| {
            let key = self.face(name);
            let unit = self.units.get(&key)?;
            Some(View { name: name.clone(), ..self.view(&key, unit) })
        };
        self.apps.keys().filter_map(face).collect()
    }
}
