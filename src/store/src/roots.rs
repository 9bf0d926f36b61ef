//! Roots under gcroots/rollinit.
