// Package layout holds no code: its test keeps the tree in shape. Who may
// import whom, which files the root has, and what lies beside them is written
// in layout_test.go, and a change that breaks one of these rules fails there
// with the rule in its message.
package layout
