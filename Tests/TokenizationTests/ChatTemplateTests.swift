import Formats
import Testing
import Tokenization

private let chatML = """
  {% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
  You help.<|im_end|>
  ' }}{% endif %}{{'<|im_start|>' + message['role'] + '
  ' + message['content'] + '<|im_end|>' + '
  '}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
  ' }}{% endif %}
  """

@Test func aConversationIsWrittenByItsTemplate() throws {
  let template = try ChatTemplate(source: chatML)
  let text = try template.render(messages: [ChatMessage(role: "user", content: "Hi")], addGenerationPrompt: true)
  #expect(
    text
      == "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
}

@Test(arguments: [
  ("{%- set ns = namespace(n=0) -%}{%- for m in messages -%}{%- set ns.n = ns.n + 1 -%}{%- endfor -%}{{ ns.n }}", "1"),
  ("{{ messages[-1].content | trim | upper }}", "HI"),
  ("{{ [1, 2, 3][1:] | join('-') }}", "2-3"),
  ("{{ {'a': [1, true]} | tojson }}", #"{"a": [1, true]}"#),
  ("{% macro f(x, y=2) %}{{ x * y }}{% endmacro %}{{ f(4) }}", "8"),
  ("{{ 'yes' if messages is defined and tools is none else 'no' }}", "yes"),
  (
    "{% macro b(t) %}<{{ t }}>{{ caller('x') }}</{{ t }}>{% endmacro %}{% call(v) b('i') %}{{ v }}!{% endcall %}",
    "<i>x!</i>"
  ),
  (
    "{% for m in [{'r': 'b', 'v': 1}, {'r': 'a', 'v': 2}, {'r': 'b', 'v': 3}] | groupby('r') %}{{ m[0] }}{{ m[1] | map(attribute='v') | list }}{% endfor %}",
    "a[2]b[1, 3]"
  ),
  (
    "{{ '%s is %05.1f%% of %d' | format('x', 2.25, 10) }}{{ '{} {1} {n}'.format('a', 'b', n=3) }}",
    "x is 002.2% of 10a b 3"
  ),
  ("{% filter upper %}a{{ 'b' }}{% endfilter %}", "AB"),
  ("{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}", "3False"),
  ("{% set c = cycler('x', 'y') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}", "xyxy"),
  ("{% for i in range(4) %}{{ loop.cycle('a', 'b') }}{{ loop.depth }}{% endfor %}", "a1b1a1b1"),
  (
    "{{ 9007199254740993 + 1 }} {{ 0.1 + 0.2 }} {{ 2 ** 10 }} {{ -7 // 2 }} {{ 3.0 }}",
    "9007199254740994 0.30000000000000004 1024 -4 3.0"
  ),
  (
    "{% set x = 1 %}{% macro f() %}{{ x }}{{ y is defined }}{% endmacro %}{% for y in [1] %}{{ f() }}{% endfor %}",
    "1False"
  ),
  ("{{ [1, 'a\"', none, 1.5] | tojson(separators=(',', ':')) }}", #"[1,"a\"",null,1.5]"#),
  (
    "{{ none | selectattr('a') | list }}{{ none | map('upper') | list }}{{ tools | rejectattr('a', 'equalto', 'b') | list | length }}",
    "[][]0"
  ),
  ("a\n  {% if true %}\nb\n  {% endif %}\nc", "a\nb\nc"),
])
func theTemplateLanguageWorks(source: String, expected: String) throws {
  let template = try ChatTemplate(source: source)
  #expect(
    try template.render(messages: [ChatMessage(role: "user", content: " Hi ")], addGenerationPrompt: false) == expected)
}

/// Python's whole numbers have no bound.
@Test func conversationsWithToolsHaveATemplateOfTheirOwn() throws {
  let template = try ChatTemplate(source: "plain", toolSource: "{{ tools | tojson }}")
  func text(_ tools: JSONValue) throws -> String {
    try template.render(messages: [], addGenerationPrompt: false, variables: ["tools": tools])
  }
  #expect(try text(.null) == "plain")
  #expect(try text(.array([.string("t")])) == #"["t"]"#)
}

@Test func numbersOfARowKeepAllTheirDigits() throws {
  let template = try ChatTemplate(source: "{{ x.id }} {{ x | tojson }} {{ x.id is integer }} {{ x.id > 5 }}")
  let row = try JSONValue.parse(#"{"id": 123456789012345678901}"#, file: "test")
  #expect(
    try template.render(messages: [], addGenerationPrompt: false, variables: ["x": row])
      == #"123456789012345678901 {"id": 123456789012345678901} True True"#)
}

@Test(arguments: [
  "{% if x %}", "{{ 1 + }}", "{% nonsense %}", "{{ 'a' | nofilter }}", "{{ raise_exception('no') }}",
  "{{ x.y }}", "{{ x + 'a' }}", "{{ f() }}", "{{ 9223372036854775807 + 1 }}", "{{ '%d' | format('a') }}",
])
func aWrongTemplateIsRefused(source: String) {
  #expect(throws: TemplateError.self) {
    try ChatTemplate(source: source).render(messages: [], addGenerationPrompt: false)
  }
}

/// Each of these would go on for hours; all loops share one bound.
@Test(arguments: [
  "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}{% endfor %}{% endfor %}{% endfor %}",
  "{% set x = range(100000) | list %}{% for a in x %}{{ x | sum }}{% endfor %}",
  "{% set x = 'a' * 6000000 %}{% for a in range(100000) %}{% if x | upper == x %}{% endif %}{% endfor %}",
  "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
  "{{ range(100000) | map('string') | map('upper') | select('in', range(100000) | list) | list }}",
])
func aTemplateWithoutEndIsRefused(source: String) {
  #expect(throws: TemplateError.self) {
    try ChatTemplate(source: source).render(messages: [], addGenerationPrompt: false)
  }
}

/// Each would take gigabytes, or for ever, if it were made before it is measured.
@Test(arguments: [
  "{{ ('a,' * 1000000).split(',') | join('a' * 1000000) }}",
  "{{ ('a' * 4000000).replace('a', 'b' * 4000000) }}",
  "{{ ('a' * 4000000).replace('', 'b' * 4000000) }}",
  "{{ ('a,' * 8000000).split(',') | length }}",
  "{% set ns = namespace(a=['a']) %}{% for i in range(99) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a == ns.a }}",
  "{% set ns = namespace(a='a') %}{% for i in range(99) %}{% set ns.a = {'a': ns.a, 'b': ns.a} %}{% endfor %}{{ ns.a }}",
  "{{ ['a' * 1000000] * 1000000 }}",
])
func whatIsLargerThanAnyConversationIsRefused(source: String) throws {
  let template = try ChatTemplate(source: source)
  #expect(throws: TemplateError.self) { try template.render(messages: [], addGenerationPrompt: false) }
}

@Test func aTemplateThatIsNoneBySizeIsRefused() {
  let source = String(repeating: "{{ 1 }}", count: 1 << 18)
  #expect(throws: TemplateError.self) { try ChatTemplate(source: source) }
}
