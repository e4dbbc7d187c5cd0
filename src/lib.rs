//! Dropmill as a library.
