/// The program's version (semver.org).
package let programVersion = "0.1.0"
