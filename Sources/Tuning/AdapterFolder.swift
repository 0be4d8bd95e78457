/// A folder with a trained adapter, of whatever method.
public enum AdapterFolder {
  /// The configuration that its `adapter_config.json` has.
  public static func configuration(of directory: String) throws -> any TuningConfiguration {
    try LowRankConfiguration.load(from: directory)
  }
}
