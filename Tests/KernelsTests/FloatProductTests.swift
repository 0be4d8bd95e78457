import CKernels
import Testing

private func floatTables() -> [UnsafePointer<el_float_kernels>] {
  var tables: [UnsafePointer<el_float_kernels>] = []
  guard let names = el_float_kernel_names() else { return tables }
  var index = 0
  while let name = names[index] {
    if let table = el_float_kernels_named(name) { tables.append(table) }
    index += 1
  }
  return tables
}

/// How the left operand lies in memory.
private enum Order: CaseIterable {
  case rows, columns, strided
}

@Test(arguments: [(17, 29, 13), (8, 8, 4), (32, 64, 33), (1, 7, 3), (9, 40, 1)])
func floatProductsMatchFP64(m: Int, n: Int, k: Int) {
  var generator = Generator()
  let b = (0..<k * (n + 3)).map { _ in generator.next() }
  for order in Order.allCases {
    let row = order == .rows ? k + 1 : order == .columns ? 1 : 2 * k + 1
    let column = order == .rows ? 1 : order == .columns ? m + 2 : 2
    let a = (0..<m * row + k * column).map { _ in generator.next() }
    for beta in [Float(0), 1] {
      var portable: [Float] = []
      for table in floatTables() {
        var c = (0..<m * (n + 1)).map { Float($0 % 11) / 4 }
        let before = c
        table.pointee.gemm(m, n, k, 0.5, a, row, column, b, n + 3, beta, &c, n + 1)
        for i in 0..<m {
          for j in 0..<n {
            var sum = 0.0
            for p in 0..<k { sum += Double(a[i * row + p * column]) * Double(b[p * (n + 3) + j]) }
            let expected = Double(beta) * Double(before[i * (n + 1) + j]) + 0.5 * sum
            // sums of up to 33 products below 1, rounded at each step
            #expect(abs(Double(c[i * (n + 1) + j]) - expected) < 1e-5)
          }
          #expect(c[i * (n + 1) + n] == before[i * (n + 1) + n], "what lies between the rows stays")
        }
        if portable.isEmpty { portable = c }
        // vectors of the same width in the same order
        if String(cString: table.pointee.name) == "neon" { #expect(c == portable) }
      }
    }
  }
}
