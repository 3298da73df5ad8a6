// Package kamal has the settings that put parachute in the place of kamal-proxy,
// and a test of every command line that Kamal sends to it.
package kamal
