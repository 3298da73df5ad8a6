package secret_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/secret"
)

func TestValuesOfRulesAreHidden(t *testing.T) {
	is := is.New(t)
	is.Equal(secret.HideRule("set X-Key: value"), "set X-Key: ***")
	is.Equal(secret.HideRule("del X-Key"), "del X-Key")
	for _, rule := range []string{"edit Location old new", " edit Location old new", "edit  Location old new"} {
		is.Equal(secret.HideRule(rule), "edit Location ***")
	}
	is.Equal(secret.HideField("X-Key: a:b"), "X-Key: ***")
}

func TestQueriesAndUsersAreHidden(t *testing.T) {
	is := is.New(t)
	is.Equal(secret.HideQuery("/up?key=a#b"), "/up?***")
	is.Equal(secret.HideQuery("https://user:word@app.test/up?key=a"), "https://***@app.test/up?***")
	is.Equal(secret.HideQuery("https://app.test/a@b"), "https://app.test/a@b")
}
