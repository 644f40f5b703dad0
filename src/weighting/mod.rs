//! Class counts to class weights to row weights, and the way back to natural probabilities.
