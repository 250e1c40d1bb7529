//! Statuses with which registries reject a token.

/// Statuses that reject a token at a registry for which none are configured.
pub const USUAL_REJECTIONS: [u16; 2] = [401, 403];
