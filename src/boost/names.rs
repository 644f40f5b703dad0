//! What the numbers of a boosted model are called.

/// Names for people: of classes, columns and categories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The K classes.
    pub classes: Vec<String>,
    /// The columns of the feature matrix.
    pub columns: Vec<String>,
    /// For each column the names of its codes 0, 1, ..., where it holds codes of categories.
    pub levels: Vec<Option<Vec<String>>>,
}

impl Names {
    /// The name of a class, its code where it has none.
    pub fn class(&self, class: usize) -> String {
        self.classes.get(class).cloned().unwrap_or_else(|| class.to_string())
    }

    /// The name of a column, its number where it has none.
    pub fn column(&self, column: u32) -> String {
        self.columns.get(column as usize).cloned().unwrap_or_else(|| column.to_string())
    }

    /// The name of a code of a column, the code where it has none.
    pub fn level(&self, column: u32, code: f32) -> String {
        let levels = self.levels.get(column as usize).and_then(Option::as_ref);
        let place = (code >= 0.0 && code.fract() == 0.0).then_some(code as usize);
        levels
            .zip(place)
            .and_then(|(levels, place)| levels.get(place))
            .cloned()
            .unwrap_or_else(|| code.to_string())
    }
}
