#compdef parachute
# Completion of parachute in zsh: as _parachute in a folder of $fpath, or in
# ~/.zshrc, below compinit,
#     eval "$(parachute completion zsh)"

_parachute() {
    local -a suggestions
    local kind
    suggestions=("${(@f)$("${(Q)words[1]}" __complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    kind=$suggestions[1]
    shift suggestions
    case $kind in
        files) compset -P '--*='; _files ;;
        folders) compset -P '--*='; _files -/ ;;
        words) (( $#suggestions )) && _describe parachute suggestions ;;
    esac
}

# As a file of $fpath this is the body of the function itself.
if [[ $funcstack[1] == _parachute ]]; then
    _parachute "$@"
else
    compdef _parachute parachute
fi
