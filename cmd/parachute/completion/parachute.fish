# Completion of parachute in fish: as parachute.fish in
# ~/.config/fish/completions, or in ~/.config/fish/config.fish
#     parachute completion fish | source

function __parachute_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l suggestions ($words[1] __complete fish $words[2..-1] "$current" 2>/dev/null)
    set -l flag (string match -r -- '^--[^=]*=' "$current")
    set -l path (string replace -r -- '^--[^=]*=' '' "$current")
    switch "$suggestions[1]"
        case files
            printf '%s\n' "$flag"(__fish_complete_path "$path")
        case folders
            printf '%s\n' "$flag"(__fish_complete_directories "$path")
        case words
            printf '%s\n' $suggestions[2..-1]
    end
end

complete -c parachute -f -a '(__parachute_complete)'
