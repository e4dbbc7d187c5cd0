//! The items of a run: those of its plan, its tasks for several of them, and those added later.

use dropmill_lifecycle::plan::{Item, RunPlan};
use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

/// Items by index; cheap to clone, one thread.
#[derive(Clone)]
pub struct ItemList {
    items: Rc<RefCell<Vec<Rc<Item>>>>,
    ids: Rc<RefCell<BTreeSet<String>>>,
}

impl ItemList {
    /// Creates the list with the items of a plan.
    pub fn of(plan: &RunPlan) -> Self {
        let all = || plan.items.iter().chain(&plan.chunks);
        let items = all().map(|item| Rc::new(item.clone())).collect();
        let ids = all().map(|item| item.task.clone()).collect();
        Self { items: Rc::new(RefCell::new(items)), ids: Rc::new(RefCell::new(ids)) }
    }

    /// Returns the item with this index.
    ///
    /// # Panics
    /// Panics if there is none: an index only comes from this list.
    pub fn item(&self, index: u32) -> Rc<Item> {
        self.items.borrow()[index as usize].clone()
    }

    /// Returns all items so far.
    pub fn items(&self) -> Vec<Rc<Item>> {
        self.items.borrow().clone()
    }

    /// Returns the number of items.
    pub fn len(&self) -> u32 {
        u32::try_from(self.items.borrow().len()).expect("a run has fewer than 2^32 items")
    }

    /// Returns whether an item has this task id.
    pub fn has(&self, task: &str) -> bool {
        self.ids.borrow().contains(task)
    }

    /// Adds an item with the next index.
    pub fn add(&self, item: Item) -> Rc<Item> {
        let item = Rc::new(Item { index: self.len(), ..item });
        self.ids.borrow_mut().insert(item.task.clone());
        self.items.borrow_mut().push(item.clone());
        item
    }
}
