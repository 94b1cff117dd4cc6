// What the SQL page needs of CodeMirror 6, as one global.
export {EditorView, keymap, lineNumbers, drawSelection, highlightActiveLine, placeholder} from "@codemirror/view";
export {EditorState, Compartment, Prec} from "@codemirror/state";
export {basicSetup} from "codemirror";
export {sql, StandardSQL, PostgreSQL, SQLDialect} from "@codemirror/lang-sql";
export {autocompletion, acceptCompletion, completionStatus} from "@codemirror/autocomplete";
export {indentWithTab} from "@codemirror/commands";
export {oneDark} from "@codemirror/theme-one-dark";
