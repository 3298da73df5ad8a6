package main

// Run is run, for the tests that see the program from outside.
var Run = run
