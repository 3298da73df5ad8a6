package screen

// A Key is what a user has pressed: a character, or one of the constants.
type Key rune

// The keys that are no characters. They lie above what Unicode has.
const (
	Up Key = 0x110000 + iota
	Down
	PageUp
	PageDown
	Home
	End
)

// Characters that control a terminal.
const (
	interrupt = 0x03 // ctrl-C
	suspend   = 0x1a // ctrl-Z
	quit      = 0x1c // ctrl-\
	escape    = 0x1b
)

// A keyReader turns the bytes that a terminal sends into keys. A key may be sent
// as several bytes (ECMA-48, section 5.4, and what xterm does), which may come in
// several reads.
type keyReader struct {
	state  int    // how much of a sequence has come
	params []byte // of the sequence that is being read
}

const (
	ground          = iota // no sequence has begun
	afterEscape            // ESC has come
	afterIntroducer        // ESC [ or ESC O has come
)

// read returns the key that b completes, if it does.
func (k *keyReader) read(b byte) (Key, bool) {
	switch {
	case b == escape:
		k.state, k.params = afterEscape, nil
		return 0, false
	case k.state == afterEscape && (b == '[' || b == 'O'):
		k.state = afterIntroducer
		return 0, false
	case k.state == afterIntroducer:
		if b < 0x40 { // a parameter; the final byte is above
			k.params = append(k.params[:min(len(k.params), 8)], b)
			return 0, false
		}
		k.state = ground
		key, ok := sequences[string(k.params)+string(rune(b))]
		return key, ok
	}
	k.state = ground // the escape key itself means nothing
	return Key(b), b < 0x80
}

// sequences are what follows ESC [ or ESC O.
var sequences = map[string]Key{
	"A": Up, "B": Down, "5~": PageUp, "6~": PageDown,
	"H": Home, "1~": Home, "7~": Home, "F": End, "4~": End, "8~": End,
}
