# Completion of parachute in bash, from version 3.2 on: in ~/.bashrc
#     eval "$(parachute completion bash)"

_parachute() {
    local kind word
    COMPREPLY=()
    {
        read -r kind
        while read -r word; do COMPREPLY+=("$word"); done
    } < <("${COMP_WORDS[0]}" __complete bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)

    local part=-f current=${COMP_WORDS[COMP_CWORD]}
    case $kind in
        files) ;;
        folders) part=-d ;;
        *) return ;;
    esac
    [[ $current != [=:] ]] || current=
    while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen "$part" -- "$current")
    compopt -o filenames 2>/dev/null
}

complete -F _parachute parachute
