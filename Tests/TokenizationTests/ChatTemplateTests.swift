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
  ("a\n  {% if true %}\nb\n  {% endif %}\nc", "a\nb\nc"),
])
func theTemplateLanguageWorks(source: String, expected: String) throws {
  let template = try ChatTemplate(source: source)
  #expect(
    try template.render(messages: [ChatMessage(role: "user", content: " Hi ")], addGenerationPrompt: false) == expected)
}

@Test(arguments: ["{% if x %}", "{{ 1 + }}", "{% nonsense %}", "{{ 'a' | nofilter }}", "{{ raise_exception('no') }}"])
func aWrongTemplateIsRefused(source: String) {
  #expect(throws: TemplateError.self) {
    try ChatTemplate(source: source).render(messages: [], addGenerationPrompt: false)
  }
}
