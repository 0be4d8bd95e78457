import Architectures
import Formats
import Testing

struct RotaryDescriptionTests {
  /// transformers computes in fp32, from angles of up to 1.
  private func near(_ found: [Double], _ expected: [Double]) -> Bool {
    found.count == expected.count && zip(found, expected).allSatisfy { abs($0 - $1) <= 2e-6 * abs($1) }
  }

  @Test func everyWayToStretchIsThatOfTransformersInItsOldAndNewKeys() throws {
    let cases = try #require(try JSONValue.parse(contentsOf: "\(golden)/rotations.json").objectValue)
    #expect(cases.keys.count == 9)
    for (name, expected) in cases.entries {
      for version in ["new", "old"] {
        let found = try ModelDescription(json: try #require(expected[version]), file: name).rotaries
        #expect(found.count == 1, "\(name), \(version)")
        let rotary = try #require(found.first)
        #expect(near(rotary.frequencies, expected["short"]?.numbers ?? []), "\(name), \(version)")
        #expect(abs(rotary.factor - (expected["factor"]?.doubleValue ?? 0)) < 1e-6, "\(name), \(version)")
        #expect((rotary.long == nil) == (expected["long"] == nil), "\(name), \(version)")
        if let long = rotary.long {
          #expect(near(long.frequencies, expected["long"]?.numbers ?? []), "\(name), \(version)")
          #expect(long.beyond == 4096, "\(name), \(version)")
        }
      }
    }
  }

  @Test func thetaIsReadWhereEitherVersionOfTransformersPutsIt() throws {
    let plain = try description("{}").rotaries
    let old = try description(#"{"rope_theta": 500000}"#).rotaries
    let new = try description(#"{"rope_parameters": {"rope_theta": 500000, "rope_type": "default"}}"#).rotaries
    #expect(old == new && old != plain)
    #expect(try description(#"{"rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}}"#).rotaries == plain)
  }

  @Test func olderKeysWinWhereBothAreThere() throws {
    let both = try description(
      #"{"rope_scaling": {"rope_type": "linear", "factor": 4}, "rope_parameters": {"rope_type": "default"}}"#)
    #expect(try both.rotaries == description(#"{"rope_scaling": {"type": "linear", "factor": 4.0}}"#).rotaries)
    let null = try description(#"{"rope_scaling": {"rope_type": "linear", "factor": 4}, "rope_parameters": null}"#)
    #expect(null.rotaries == both.rotaries)
  }

  /// Gemma's layers with a window turn by a base of their own, and nothing stretches it.
  @Test func gemmasTwoRotationsAreReadInTheirOldAndNewKeys() throws {
    let name = #""architectures": ["Gemma3ForCausalLM"]"#
    let old = try description(
      """
      {\(name), "rope_theta": 1e6, "rope_local_base_freq": 100, "rope_scaling": {"rope_type": "linear", "factor": 8}}
      """
    ).rotaries
    let new = try description(
      """
      {\(name), "rope_parameters": {"full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8},
       "sliding_attention": {"rope_type": "default", "rope_theta": 100}}}
      """
    ).rotaries
    #expect(old == new && old.count == 2)
    #expect(old[0].frequencies[0] == 1 / 8.0 && old[1].frequencies[0] == 1)
  }
}
